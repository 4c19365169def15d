################################################################################
#
# kmod-harness-agent
#
################################################################################

# In a checkout, else in a wheel.
KMOD_HARNESS_AGENT_SITE = $(firstword $(wildcard \
	$(BR2_EXTERNAL_KMOD_HARNESS_PATH)/../harness/kmod_harness/guest/agent/src \
	$(BR2_EXTERNAL_KMOD_HARNESS_PATH)/../../guest/agent/src))
KMOD_HARNESS_AGENT_SITE_METHOD = local
KMOD_HARNESS_AGENT_LICENSE = MIT

# It brings its own start-up code and system calls: no C library.
KMOD_HARNESS_AGENT_CFLAGS = -static -nostdlib -ffreestanding -Os \
	-fno-stack-protector -fno-pie -no-pie -fcf-protection=none

define KMOD_HARNESS_AGENT_BUILD_CMDS
	$(TARGET_CC) $(KMOD_HARNESS_AGENT_CFLAGS) -o $(@D)/agent $(@D)/*.c
endef

define KMOD_HARNESS_AGENT_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/agent $(TARGET_DIR)/usr/sbin/kmod-harness-agent
endef

define KMOD_HARNESS_AGENT_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(KMOD_HARNESS_AGENT_PKGDIR)/S10kmod-harness-agent \
		$(TARGET_DIR)/etc/init.d/S10kmod-harness-agent
endef

$(eval $(generic-package))
