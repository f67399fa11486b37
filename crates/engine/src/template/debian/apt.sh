# The host's own apt, with its mirror, proxy, preferences and certificates, for the system in /tree. Only downloads: dpkg is not run.
#
# SUITE, MIRROR (empty: the host's own sources, when it is of that suite).
state=/tree/var/lib
mkdir -p $state/apt/lists/partial $state/dpkg /tree/var/cache/apt/archives/partial /tree/etc/apt

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
