# Step "finish": compiled bytecode, and away with what nobody reads in a sandbox. Runs without network.
# STRIP: paths that the recipe gives up, as shell patterns. WORKING_DIR: where executions start.
set -eu
rm -rf /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /var/log/* /var/cache/debconf/*-old \
    /var/lib/dpkg/*-old /var/cache/ldconfig /usr/sbin/policy-rc.d
find /usr/share/doc -mindepth 1 ! -type d ! -name copyright -delete
find /usr/share/doc -mindepth 1 -type d -empty -delete
# shellcheck disable=SC2086 # patterns are to be expanded
rm -rf $STRIP

# A sandbox is thrown away as a whole: its user may install with pip what pleases.
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
mkdir -p /home/user /data
chown 1000:1000 /home/user
[ -d "$WORKING_DIR" ] || install -d -o 1000 -g 1000 "$WORKING_DIR"

if command -v python3 > /dev/null; then
    echo "finish: compiling bytecode"
    # Bytecode holds its source's time, which for pip is the time of the build: one and the same instead, so that the
    # same tree gets the same digest on every day. Sealing a layer keeps times.
    packages=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    find "$packages" -type f -exec touch -d '2020-01-01 00:00:00 UTC' {} +
    # Some packages ship files in the syntax of another Python on purpose.
    python3 -m compileall -q -j 2 "$packages" || true
fi
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/.pwd.lock
echo "finish: $(du -sxm / | cut -f 1) MiB"
