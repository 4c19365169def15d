# The front door. Thin: what takes more than a few lines is in harness/scripts/ or in Python.
#
# A stamp under build/stamps/ says that a step is done; it is older than what the step depends on when the
# step has to be done again. With everything built, make runs no pip, no apt, no kbuild and no Python.

KERNEL     ?= minimal
KERNEL_SRC ?=
ROOTFS     ?= embedded
BUILDROOT  ?=
M          ?=
ARGS       ?=

SHELL       := /bin/bash
STAMPS      := build/stamps
VENV        := .venv/bin
HARNESS     := $(VENV)/kmod-harness

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# the steps share apt's lock, the cache's locks and two processors: one after the other
.NOTPARALLEL:

# Kernels that are built or downloaded; any other is a path, or the running one.
KNOWN_KERNEL := $(filter minimal minimal@% debian debian@%,$(KERNEL))
# Groups of harness/scripts/debian-packages.txt; one stamp for all, so that one message names all that is missing.
GROUPS       := run.fetch$(if $(filter minimal minimal@%,$(KERNEL)),.kernel$(if $(KERNEL_SRC),,.source))$(if \
                $(filter debian debian@%,$(KERNEL)),.debian)$(if $(BUILDROOT)$(filter buildroot%,$(ROOTFS)),.buildroot)
PACKAGES     := $(STAMPS)/packages-$(GROUPS)
VENV_STAMP    := .venv/.made
KERNEL_STAMP  := $(if $(KNOWN_KERNEL),$(STAMPS)/kernel-$(KERNEL)$(if $(KERNEL_SRC),-from-elsewhere))
MODULES_STAMP := $(STAMPS)/modules-$(subst /,_,$(KERNEL))
# the stamp lists the modules; read when a recipe runs
CHARDEV        = $(filter %/chardev.ko,$(file <$(MODULES_STAMP)))
ROOTFS_STAMP  := $(if $(filter embedded buildroot buildroot-ext4,$(ROOTFS)),$(STAMPS)/rootfs-$(ROOTFS))

# For pytest: the machine that was asked for. And what make has installed, so that a test whose need is among
# it fails where by hand it is skipped: a line is missing in harness/scripts/debian-packages.txt (tests/needs).
TEST_MACHINE := $(if $(filter-out minimal,$(KERNEL)),--kh-kernel=$(KERNEL)) $(if \
                $(filter-out embedded,$(ROOTFS)),--kh-rootfs=$(ROOTFS))
PROMISED     := KH_INSTALLED="$(subst ., ,$(GROUPS)) test"

# What `make test-debug` runs: all that a kernel's detectors watch. Not what compares addresses and bytes
# with predictions for a kernel without them, nor what is about QEMU, files or speed alone.
DEBUG_SUITE  := $(addprefix tests/guest/,$(addsuffix .py,\
                agent/test_programs channels/test_shell modules/test_chardev modules/test_faulty \
                modules/test_module_load lifecycle/test_plugin_fixtures))

# These stamps begin with the path of what was made: gone, from the cache say, it is made again.
# KERNEL_SRC= may have changed since the last time: the harness looks.
$(foreach stamp,$(KERNEL_STAMP) $(MODULES_STAMP) $(ROOTFS_STAMP),\
  $(if $(wildcard $(firstword $(file <$(stamp)))),,$(eval $(stamp): FORCE)))
ifneq ($(KERNEL_SRC),)
$(KERNEL_STAMP): FORCE
endif
# as may a Buildroot tree
ifneq ($(BUILDROOT),)
$(STAMPS)/rootfs-buildroot $(STAMPS)/rootfs-buildroot-ext4: FORCE
endif

##@ Use it
.PHONY: demo explain page run boot debug

demo: ready  ## everything from nothing: build, boot, load a module, use it, judge it
	$(HARNESS) demo --kernel $(KERNEL) --rootfs $(ROOTFS) $(ARGS)

explain: $(PACKAGES).explain ready  ## how a module gets into the kernel, on one page: build/explain/index.html
	$(HARNESS) explain --kernel $(KERNEL) --rootfs $(ROOTFS) $(ARGS)

page: $(PACKAGES).test ready  ## that page anew for the docs, with its picture: harness/docs/explain, docs/pictures
	harness/scripts/render-page.sh $(HARNESS) explain

run: ready  ## ARGS="MODULE.ko -- COMMAND": one run with a verdict (without: the sample driver)
	$(HARNESS) run --kernel $(KERNEL) --rootfs $(ROOTFS) $(or $(ARGS),$(CHARDEV))

boot: ready  ## a shell on a guest
	$(HARNESS) boot --kernel $(KERNEL) --rootfs $(ROOTFS) $(ARGS)

debug: ready  ## a guest that waits for gdb
	$(HARNESS) debug --kernel $(KERNEL) --rootfs $(ROOTFS) $(ARGS)

##@ Build it
.PHONY: setup ready kernel modules rootfs

setup:  ## Debian packages and .venv, looked at again even if done before
	rm -f $(STAMPS)/packages-* $(VENV_STAMP)
	$(MAKE) --no-print-directory $(PACKAGES) $(VENV_STAMP)

ready: $(KERNEL_STAMP) $(MODULES_STAMP) $(ROOTFS_STAMP)  ## all that comes before a boot

kernel: $(VENV_STAMP) $(KERNEL_STAMP)  ## the kernel, kept in the cache

ifeq ($(M),)
modules: $(MODULES_STAMP)  ## those in modules/, to build/modules/; M=DIRECTORY: anyone's, in that directory
else
modules: $(VENV_STAMP) $(KERNEL_STAMP)
	$(HARNESS) modules --kernel $(KERNEL) $(M)
endif

rootfs: $(VENV_STAMP) $(ROOTFS_STAMP)  ## the root file system, kept in the cache (ROOTFS=buildroot: 3 minutes)

##@ Check it
.PHONY: test test-debug readme nightly soak bench lint format fresh

test: $(PACKAGES).test ready  ## unit, plugin and guest tests; JUnit XML in build/test/
	@mkdir -p build/test
	$(PROMISED) $(VENV)/python -m pytest $(wildcard tests/unit tests/plugin tests/guest) $(TEST_MACHINE) \
	  --junitxml=build/test/junit.xml $(ARGS)

# The kernel takes about twice as long to build as minimal, once. 512 MiB: KASAN's shadow and quarantine.
test-debug: $(PACKAGES).test ready  ## guest tests and the proof of each detector, on a kernel that has them all
	@mkdir -p build/test
	$(HARNESS) kernel build minimal --kconfig debug
	$(HARNESS) modules --kconfig debug
	$(PROMISED) $(VENV)/python -m pytest tests/debug $(DEBUG_SUITE) --kh-kconfig=debug --kh-memory=512M \
	  --junitxml=build/test/debug.xml $(ARGS)

# Minutes: pip fills two environments, and all that boots is booted. A debug kernel takes part if there is one.
readme: $(PACKAGES).explain ready  ## the README's every command, in a clean copy and in a stranger's repository
	@mkdir -p build/test
	$(VENV)/python -m pytest tests/readme --timeout=1200 --junitxml=build/test/readme.xml $(ARGS)

nightly: $(PACKAGES).test ready  ## guest tests over kernels, CPUs, KASLR, images; each detector; to build/nightly/
	export $(PROMISED); $(HARNESS) nightly --out build/nightly $(ARGS); status=$$?; \
	  harness/scripts/detector-kernels.sh $(HARNESS) build/nightly || failed=1; \
	  harness/scripts/image-suites.sh $(HARNESS) build/nightly "$(BUILDROOT)" || failed=1; \
	  test -z "$$failed" && exit $$status

soak: $(PACKAGES).test ready  ## long tests: processes killed at random, floods
	$(PROMISED) $(VENV)/python -m pytest tests/soak $(TEST_MACHINE) --junitxml=build/test/soak.xml $(ARGS)

bench: ready  ## how fast: boots against the bare QEMU, calls a second
	$(VENV)/python tests/bench/bench.py --kernel $(KERNEL) $(ARGS)

lint: $(PACKAGES).lint $(KERNEL_STAMP)  ## ruff, mypy, import-linter, checkpatch, shellcheck
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports
	$(VENV)/python harness/scripts/check_rooms.py
	harness/scripts/checkpatch.sh "$$($(HARNESS) kernel dir $(KERNEL))"
	shellcheck harness/scripts/*.sh .ci/run

# As nobody's machine: neither .venv nor the cache of this one takes part.
fresh: $(STAMPS)/packages-fresh  ## the README's commands in empty roots of Debian 12 and 13
	@PYTHONPATH=harness $(shell harness/scripts/find-python.sh) -m fresh --suite "$$SUITE" --user "$$WHO" \
	  --commands "$$COMMANDS"$(if $(filter keep,$(CACHE)), --keep-kernels)

format: $(VENV_STAMP)  ## the Python sources, by ruff
	$(VENV)/ruff check --fix-only .
	$(VENV)/ruff format .

##@ Tidy up
.PHONY: help clean distclean FORCE

clean:  ## what was built in this checkout; the cache stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

distclean: clean  ## the same, and .venv (kernels: kmod-harness cache prune)
	rm -rf .venv

help:  ## this text
	@harness/scripts/help.sh $(MAKEFILE_LIST)

# --- the steps

$(STAMPS):
	@mkdir -p $@

# dpkg's status changes with every package that comes or goes
$(STAMPS)/packages-%: harness/scripts/debian-packages.txt harness/scripts/install-packages.sh \
  $(wildcard /var/lib/dpkg/status) | $(STAMPS)
	@harness/scripts/install-packages.sh $(subst ., ,$*)
	@touch $@

$(VENV_STAMP): pyproject.toml harness/scripts/make-venv.sh | $(PACKAGES)
	@harness/scripts/make-venv.sh
	@touch $@

# The harness's `minimal` is the one built last: a stamp of the other source is void.
$(KERNEL_STAMP): $(PACKAGES) $(VENV_STAMP) $(wildcard kernel-config/*)
	@rm -f $(STAMPS)/kernel-$(KERNEL)*
	$(HARNESS) kernel build $(KERNEL)$(if $(KERNEL_SRC), --source $(KERNEL_SRC))
	@$(HARNESS) kernel dir $(KERNEL) >$@

$(MODULES_STAMP): $(PACKAGES) $(VENV_STAMP) $(KERNEL_STAMP) $(shell find modules -type f ! -name '.*')
	$(HARNESS) modules --kernel $(KERNEL) >$@

$(STAMPS)/rootfs-embedded: $(PACKAGES) $(VENV_STAMP) $(addprefix harness/kmod_harness/build/image/,embedded.py cpio.py)
	@$(HARNESS) rootfs >$@

$(STAMPS)/rootfs-buildroot $(STAMPS)/rootfs-buildroot-ext4: $(PACKAGES) $(VENV_STAMP) \
  $(wildcard harness/kmod_harness/build/buildroot/*.py harness/kmod_harness/guest/agent/src/*.[ch]) \
  $(shell find buildroot -type f)
	$(HARNESS) rootfs $(ROOTFS)$(if $(BUILDROOT), --buildroot $(BUILDROOT)) >$@
