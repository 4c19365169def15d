################################################################################
#
# chardev
#
################################################################################

# The project's own directory, also inside a wheel: one source, no copy.
CHARDEV_SITE = $(BR2_EXTERNAL_KMOD_HARNESS_PATH)/../modules
CHARDEV_SITE_METHOD = local
CHARDEV_LICENSE = GPL-2.0
CHARDEV_LICENSE_FILES = COPYING
CHARDEV_MODULE_SUBDIRS = chardev

$(eval $(kernel-module))
$(eval $(generic-package))
