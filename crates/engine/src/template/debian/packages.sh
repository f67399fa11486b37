# Step "packages": Debian packages beyond the essential ones, and what they depend on, into /tree. PACKAGES.
set -eu
. /build/apt.sh
echo "packages: reading the package lists of $SUITE"
apt update
echo "packages: downloading $PACKAGES"
# shellcheck disable=SC2086 # package names are words
apt install --download-only $PACKAGES
cd /tree/var/cache/apt/archives
echo "packages: $(find . -name '*.deb' | wc -l) packages, $(du -sm . | cut -f 1) MiB"
