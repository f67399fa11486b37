# Step "configure": unpacks and configures what was fetched, inside the tree, without network. Maintainer scripts run
# here, as root of the step's user namespace and nothing on the host. USER_NAME: login name of the user.
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
echo "configure: the other packages"
# Without lists there is nothing to download from: apt only finds the order that pre-dependencies demand.
others=$(ls ./*.deb | grep -v -x -F -f /var/cache/essential || true)
if [ -n "$others" ]; then
    # shellcheck disable=SC2086 # file names are words
    apt-get -q -y -o APT::Sandbox::User=root -o Dpkg::Use-Pty=false --no-install-recommends --no-download install $others
fi
dpkg --audit
rm -rf /var/cache/apt /var/cache/essential /var/lib/apt/lists
mkdir -p /var/cache/apt/archives/partial /var/lib/apt/lists/partial

echo "configure: making the user"
# Written by hand: useradd wants to tell the kernel's audit, which a build step cannot reach. 999 is guest init's.
if grep -q -e "^$USER_NAME:" -e ":x:1000:" /etc/passwd; then
    echo "configure: Debian has the user $USER_NAME or number 1000 already" >&2
    exit 1
fi
echo 'init:x:999:999::/nonexistent:/usr/sbin/nologin' >> /etc/passwd
echo "$USER_NAME:x:1000:1000::/home/user:/bin/bash" >> /etc/passwd
printf 'init:x:999:\n%s:x:1000:\n' "$USER_NAME" >> /etc/group
printf 'init:!:19000::::::\n%s:!:19000::::::\n' "$USER_NAME" >> /etc/shadow
printf 'init:!::\n%s:!::\n' "$USER_NAME" >> /etc/gshadow

# Mount points of later steps and of sandboxes.
for file in /etc/resolv.conf /etc/hosts /etc/hostname /etc/machine-id; do : > $file; done
mkdir -p /data /home/user
chown 1000:1000 /home/user
