# Step "pip": Python packages, by the hashes of the recipe's lock file, as wheels only: nothing of a package is executed.
#
# The operator's index, proxy and timeout come as PIP_* variables and as /build/pip.conf.
set -eu
[ ! -e /build/pip.conf ] || export PIP_CONFIG_FILE=/build/pip.conf
echo "pip: installing $(grep -c == /build/requirements.lock) packages"
python3 -m pip install --require-hashes --only-binary :all: --no-deps --no-compile --no-cache-dir \
    --break-system-packages --root-user-action ignore --no-input --progress-bar off --disable-pip-version-check \
    -r /build/requirements.lock
echo "pip: compiling bytecode"
# Bytecode holds its source's time, which for pip is the time of the build: one and the same instead, so that the same tree gets the
# same digest on every day. Sealing a layer keeps times. What the recipe gives up is not compiled: STRIP.
packages=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# shellcheck disable=SC2086 # patterns are to be expanded
rm -rf $STRIP
find "$packages" -type f -exec touch -d '2020-01-01 00:00:00 UTC' {} +
# Some packages ship files in the syntax of another Python on purpose.
python3 -m compileall -q -j 2 "$packages" || true
