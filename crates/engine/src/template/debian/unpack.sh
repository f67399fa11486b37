# Step "unpack": unpacks and configures the packages that were downloaded, inside the tree, without network. Maintainer scripts run
# here, as root of the step's user namespace and nothing on the host.
set -eu
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
# No package may start a service.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
rm -rf /var/lib/apt/lists
cd /var/cache/apt/archives
packages=$(find . -name '*.deb')
# Without lists there is nothing to download from: apt only finds the order that pre-dependencies demand.
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # file names are words
    apt-get -q -y -o APT::Sandbox::User=root -o Dpkg::Use-Pty=false --no-install-recommends --no-download install $packages
fi
dpkg --audit
rm -rf /var/cache/apt /var/lib/apt/lists
mkdir -p /var/cache/apt/archives/partial /var/lib/apt/lists/partial
