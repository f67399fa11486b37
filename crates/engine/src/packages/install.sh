# Installs packages of Debian as root of the sandbox, and says as JSON on its last line what came of it. All or nothing.
#
# PACKAGES: `name` or `name=version`, with spaces between. MIRROR: the operator's mirror of Debian, or empty.
# It begins with an environment of its own, in nobody's directory: whatever the sandbox's user left lying about decides nothing.
set -u
umask 022
said=$(mktemp)
fixed=()
finish() {
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/cache/apt/*.bin "$said" "$said".*
    [ ${#fixed[@]} = 0 ] || rm -f "${fixed[@]}"
}
trap finish EXIT

apt() {
    # Its download user and its terminal are of no use here. Lists stay compressed: the disk is small.
    apt-get -q -y -o APT::Sandbox::User=root -o Dpkg::Use-Pty=false -o APT::Install-Recommends=false -o Acquire::Retries=2 \
        -o Acquire::Languages=none -o Acquire::GzipIndexes=true -o Acquire::http::Timeout=30 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" >>"$said" 2>&1 </dev/null
}
installed() { dpkg-query -W -f '${binary:Package} ${db:Status-Status}\n' | awk '$2 != "not-installed" && $2 != "config-files" { print $1 }' | sort; }

# Where there are sources already, they are the template's.
if [ -z "$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null)" ]; then
    . /etc/os-release
    key='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
    mirror=${MIRROR:-http://deb.debian.org/debian}
    mkdir -p /etc/apt
    {
        echo "deb $key $mirror $VERSION_CODENAME main"
        echo "deb $key $mirror $VERSION_CODENAME-updates main"
        [ -n "$MIRROR" ] || echo "deb $key http://deb.debian.org/debian-security $VERSION_CODENAME-security main"
    } >/etc/apt/sources.list
fi
# No package may start a service.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
    fixed+=(/usr/sbin/policy-rc.d)
fi
mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial

installed >"$said".before
code=0
# shellcheck disable=SC2086 # package names are words
apt update -o APT::Update::Error-Mode=any && apt install --download-only $PACKAGES && apt install --no-download $PACKAGES || code=$?
if [ "$code" != 0 ]; then
    # What has begun is taken away again; before the download there is nothing.
    new=$(installed | comm -13 "$said".before -)
    # shellcheck disable=SC2086
    [ -z "$new" ] || dpkg --purge --force-all $new >>"$said".undo 2>&1
    apt-cache pkgnames >"$said".names 2>/dev/null || :
fi
touch "$said".names
CODE=$code SAID=$said perl -e '
use strict;
sub text { my $t = shift; utf8::decode($t); $t =~ s/(["\\])/\\$1/g; $t =~ s/[\x00-\x1f\x7f]/ /g; utf8::encode($t); return "\"$t\""; }
sub lines { open(my $f, "<", shift) or return (); my @l = <$f>; chomp @l; return grep { /\S/ } @l; }
sub distance {
    my ($s, $t) = @_;
    my @row = (0 .. length $t);
    for my $i (1 .. length $s) {
        my @next = ($i);
        for my $j (1 .. length $t) {
            my $best = $row[$j - 1] + (substr($s, $i - 1, 1) ne substr($t, $j - 1, 1));
            $best = $row[$j] + 1 if $row[$j] + 1 < $best;
            $best = $next[$j - 1] + 1 if $next[$j - 1] + 1 < $best;
            push @next, $best;
        }
        @row = @next;
    }
    return $row[-1];
}
my @said = lines($ENV{SAID});
my @wanted = map { s/=.*//r } split " ", $ENV{PACKAGES};
my (@installed, @near);
if ($ENV{CODE} == 0) {
    for my $name (@wanted) {
        open(my $query, "-|", "dpkg-query", "-W", "-f", "\${Version}", $name) or next;
        my $version = <$query> // "";
        push @installed, "{\"name\":" . text($name) . ",\"version\":" . text($version) . "}" if $version ne "";
    }
} else {
    my @names = lines("$ENV{SAID}.names");
    my %known = map { $_ => 1 } @names;
    for my $name (grep { @names && !$known{$_} } @wanted) {
        my $most = length $name > 5 ? 2 : 1;
        my @close = grep { abs(length($_) - length $name) <= $most && substr($_, 0, 1) eq substr($name, 0, 1) } @names;
        my %far = map { $_ => distance($name, $_) } @close;
        my @best = (sort { $far{$a} <=> $far{$b} || $a cmp $b } grep { $far{$_} <= $most } @close)[0 .. 2];
        push @near, text($name) . ":[" . join(",", map { text($_) } grep { defined } @best) . "]";
    }
    my @errors = grep { /^[EW]: / } @said;
    @said = @errors if @errors;
}
splice(@said, 0, -12) if @said > 12;
printf "{\"exit_code\":%d,\"installed\":[%s],\"near\":{%s},\"said\":[%s]}\n",
    $ENV{CODE}, join(",", @installed), join(",", @near), join(",", map { text($_) } @said);
'
