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

# Mount points of later steps and of sandboxes.
for file in /etc/resolv.conf /etc/hosts /etc/hostname /etc/machine-id; do : > $file; done
mkdir -p /data
