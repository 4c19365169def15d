################################################################################
#
# kmod-harness-debian-tools
#
################################################################################

# A directory from the environment: no tarball, no source.
define KMOD_HARNESS_DEBIAN_TOOLS_INSTALL_TARGET_CMDS
	rsync -a --ignore-existing $(KMOD_HARNESS_DEBIAN_TOOLS)/usr $(TARGET_DIR)/
	cp -a $(KMOD_HARNESS_DEBIAN_TOOLS)/sbin/* $(TARGET_DIR)/sbin/
endef

# The programs replace BusyBox's of the same name.
KMOD_HARNESS_DEBIAN_TOOLS_DEPENDENCIES = busybox

$(eval $(generic-package))
