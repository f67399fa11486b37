# Step "fetch": Debian packages into /tree, and the essential ones laid out there, so that the next step can run in it.
#
# Runs on the host's own apt, with its mirror, proxy, preferences and certificates. Nothing of a package is executed.
# SUITE, MIRROR (empty: the host's own sources, when it is of that suite), PACKAGES.
set -eu

state=/tree/var/lib
mkdir -p $state/apt/lists/partial $state/dpkg /tree/var/cache/apt/archives/partial /tree/etc/apt
: > $state/dpkg/status

. /etc/os-release
sources=/tmp/sources.list
if [ -z "$MIRROR" ] && [ "${ID:-}" = debian ] && [ "${VERSION_CODENAME:-}" = "$SUITE" ]; then
    sources_options="-o Dir::Etc::sourcelist=/etc/apt/sources.list -o Dir::Etc::sourceparts=/etc/apt/sources.list.d"
else
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    if [ ! -r $keyring ]; then
        echo "fetch: $keyring is missing: install the package debian-archive-keyring on this host" >&2
        exit 1
    fi
    mirror=${MIRROR:-http://deb.debian.org/debian}
    printf 'deb [signed-by=%s] %s %s main\n' $keyring "$mirror" "$SUITE" $keyring "$mirror" "$SUITE-updates" > $sources
    if [ -z "$MIRROR" ]; then
        printf 'deb [signed-by=%s] http://deb.debian.org/debian-security %s-security main\n' $keyring "$SUITE" >> $sources
    fi
    sources_options="-o Dir::Etc::sourcelist=$sources -o Dir::Etc::sourceparts=/dev/null"
fi

# apt's download user and post-invoke hooks belong to the host's own system. dpkg is not run: only downloads.
apt() {
    # shellcheck disable=SC2086 # options are words
    apt-get -q -y $sources_options \
        -o Dir::State=$state/apt -o Dir::State::status=$state/dpkg/status -o Dir::Cache=/tree/var/cache/apt \
        -o Dir::Log=/tmp -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Acquire::Languages=none \
        -o Acquire::Retries=3 -o Dpkg::Use-Pty=false "$@"
}
echo "fetch: reading the package lists of $SUITE"
apt update
echo "fetch: downloading the essential packages"
apt install --download-only '?essential'
cd /tree/var/cache/apt/archives
ls ./*.deb > /tree/var/cache/essential
echo "fetch: downloading $PACKAGES"
# shellcheck disable=SC2086 # package names are words
apt install --download-only '?essential' $PACKAGES

# All of /usr is merged in this suite: the links must be there before a package brings /bin as a directory.
mkdir -p /tree/usr
for dir in bin sbin lib lib64 lib32 libx32; do
    mkdir -p /tree/usr/$dir
    ln -sfn usr/$dir /tree/$dir
done
echo "fetch: laying out $(wc -l < /tree/var/cache/essential) essential packages"
while read -r deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -xp -C /tree --keep-directory-symlink
done < /tree/var/cache/essential
echo "fetch: $(ls ./*.deb | wc -l) packages, $(du -sm . | cut -f 1) MiB"
