# Step "tidy", at the end of every stage: away with what nobody reads in a sandbox. Runs without network. What is removed here is not
# in the stage's layer; what a layer below has is only hidden.
# STRIP: paths that the recipe gives up, as shell patterns.
set -eu
rm -rf /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /var/log/* /var/cache/debconf/*-old \
    /var/lib/dpkg/*-old /var/cache/ldconfig /usr/sbin/policy-rc.d
find /usr/share/doc -mindepth 1 ! -type d ! -name copyright -delete
find /usr/share/doc -mindepth 1 -type d -empty -delete
# shellcheck disable=SC2086 # patterns are to be expanded
rm -rf $STRIP
# A sandbox is thrown away as a whole: its user may install with pip what pleases.
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/.pwd.lock
