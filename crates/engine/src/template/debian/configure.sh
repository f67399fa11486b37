# Step "configure": unpacks and configures what was fetched, inside the tree, without network. Maintainer scripts run
# here, as root of the step's user namespace and nothing on the host.
set -eu
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true

# No package may start a service.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
mkdir -p /etc/dpkg/dpkg.cfg.d
# The tree is synced once, when it is sealed. What nobody reads in a sandbox is not unpacked; licences stay.
cat > /etc/dpkg/dpkg.cfg.d/ringfence <<'END'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
END

rm -rf /var/lib/apt/lists
cd /var/cache/apt/archives
echo "configure: essential packages"
# They depend on one another in circles, which is why they were laid out before: every program is there already.
xargs dpkg --force-depends --install < /var/cache/essential
dpkg --audit
rm -rf /var/cache/apt /var/cache/essential /var/lib/apt/lists
mkdir -p /var/cache/apt/archives/partial /var/lib/apt/lists/partial

echo "configure: making the user"
# Written by hand: useradd wants to tell the kernel's audit, which a build step cannot reach. 999 is guest init's.
echo 'init:x:999:999::/nonexistent:/usr/sbin/nologin' >> /etc/passwd
echo 'user:x:1000:1000::/home/user:/bin/bash' >> /etc/passwd
printf 'init:x:999:\nuser:x:1000:\n' >> /etc/group
printf 'init:!:19000::::::\nuser:!:19000::::::\n' >> /etc/shadow
printf 'init:!::\nuser:!::\n' >> /etc/gshadow

# Mount points of later steps and of sandboxes.
for file in /etc/resolv.conf /etc/hosts /etc/hostname /etc/machine-id; do : > $file; done
mkdir -p /data /home/user
chown 1000:1000 /home/user

rm -rf /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /var/log/* /var/cache/debconf/*-old \
    /var/lib/dpkg/*-old /var/cache/ldconfig /usr/sbin/policy-rc.d
find /usr/share/doc -mindepth 1 ! -type d ! -name copyright -delete
find /usr/share/doc -mindepth 1 -type d -empty -delete
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/.pwd.lock
echo "configure: $(du -sxm / | cut -f 1) MiB"
