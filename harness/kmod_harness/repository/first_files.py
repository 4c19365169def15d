"""The files that `kmod-harness init` writes, as text: settings, a first test, a CI recipe."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from kmod_harness.repository.locate import FILE
from kmod_harness.repository.sources import Found, FoundModule

#: Recipe -> where it is read.
CI_FILES = {"github": ".github/workflows/kmod-harness.yml", "gitlab": ".gitlab-ci.yml"}
#: Kernel -> what its cache takes: the compiled one needs its source.
_CACHE_SIZES = {"debian": "0.5 GB", "minimal": "2 GB"}
_TEMPLATES = Path(__file__).parent / "templates"


def settings_text(found: Found, kernel: str) -> str:
    """Return kmod-harness.toml for what was found, with a kernel of that name."""
    return f"""\
# What kmod-harness and its pytest plugin do here where their command lines say nothing else.
# Every key: harness/docs/configuration.md in kmod-harness.

# "debian" is downloaded, with Debian's options and drivers; "minimal" is compiled from source once,
# 5 to 8 minutes, and boots fastest. `kmod-harness kernel build` gets the one that stands here.
kernel = "{kernel}"
# kconfig = ["kasan"]  # over minimal: a kernel that sees bad memory accesses; lockdep, kmemleak, ubsan, ...
# cpus = 2
# memory = "512M"
# timeout = 60  # seconds for each load, command and unload

[modules]
{_modules_text(found)}"""


def _modules_text(found: Found) -> str:
    if not found.modules:
        return (
            '# build = "make KDIR=$KERNEL_DIR"  # a command that builds them, for the kernel above\n'
            f"load = {_as_toml(found.lying)}\n"
        )
    loaded = _as_toml([module.ko for module in found.modules])
    symbols = dict.fromkeys(config for module in found.modules for config in module.configs)
    if not symbols:
        return (
            f"kbuild = {_as_toml(found.kbuild)}  # directories whose Makefile or Kbuild says obj-m\n"
            f"# load = {loaded}  # in place of all that is built\n"
        )
    asked = " ".join(f"{symbol}=m" for symbol in symbols)
    places = ["$PWD" if directory == Path() else f"$PWD/{directory}" for directory in found.kbuild]
    command = " && ".join(f"make -C $KERNEL_DIR M={place} {asked} modules" for place in places)
    return f"build = {json.dumps(command, ensure_ascii=False)}\nload = {loaded}\n"


def _as_toml(paths: Sequence[Path]) -> str:
    return json.dumps([str(path) for path in paths], ensure_ascii=False)


def first_test(modules: Sequence[FoundModule]) -> tuple[str, str]:
    """Return the name of the first test's file, and its text."""
    makes_node = any(module.makes_node for module in modules)
    names = [module.name for module in modules]
    if len(names) == 1:
        imports = "\nimport os\n\nimport pytest\n" if makes_node else ""
        parts = ["one_module.py.in", *(["one_device.py.in"] if makes_node else [])]
        word = re.sub(r"\W", "_", names[0])
        values = {"NAME": names[0], "WORD": word, "IMPORTS": imports}
        return f"test_{word}.py", _filled("".join(map(_template, parts)), values)
    imports = "import os\nfrom contextlib import ExitStack\n\nimport pytest\n"
    imports = imports if makes_node else "from contextlib import ExitStack\n"
    parts = ["several_modules.py.in", *(["several_devices.py.in"] if makes_node else [])]
    values = {"NAMES": ", ".join(names), "IMPORTS": imports}
    return "test_modules.py", _filled("".join(map(_template, parts)), values)


def ci_recipe(which: str, kernel: str, packages: Sequence[str], source: str) -> str:
    """Return a recipe of CI_FILES.

    packages: Debian's, that the machine has to have. source: what pip installs there.
    """
    indent = 12 if which == "github" else 6
    end = " \\" if which == "github" else ""
    lines = textwrap.wrap(" ".join(packages), 100 - indent, break_long_words=False, break_on_hyphens=False)
    values = {
        "SOURCE": source,
        "SIZE": _CACHE_SIZES.get(kernel, _CACHE_SIZES["minimal"]),
        "PACKAGES": f"{end}\n".join(" " * indent + line for line in lines),
        "SETTINGS": FILE,
    }
    return _filled(_template(f"{which}.yml"), values)


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text()


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
