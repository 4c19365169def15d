include $(sort $(wildcard $(BR2_EXTERNAL_KMOD_HARNESS_PATH)/package/*/*.mk))

# What legal-info says of libxcrypt where it is Debian's (support/debian/overrides): its own version, and of its
# licence files the one that is as Buildroot's hash says.
ifneq ($(LIBXCRYPT_OVERRIDE_SRCDIR),)
LIBXCRYPT_DL_VERSION = $(shell sed -n "s/^PACKAGE_VERSION='\(.*\)'/\1/p" $(LIBXCRYPT_OVERRIDE_SRCDIR)/configure)
LIBXCRYPT_LICENSE_FILES = COPYING.LIB
endif
