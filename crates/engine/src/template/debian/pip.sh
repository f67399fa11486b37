# Step "pip": Python packages, by the hashes of the recipe's lock file, as wheels only: nothing of a package is executed.
#
# The operator's index, proxy and timeout come as PIP_* variables and as /build/pip.conf.
set -eu
[ ! -e /build/pip.conf ] || export PIP_CONFIG_FILE=/build/pip.conf
echo "pip: installing $(grep -c == /build/requirements.lock) packages"
python3 -m pip install --require-hashes --only-binary :all: --no-deps --no-compile --no-cache-dir \
    --break-system-packages --root-user-action ignore --no-input --progress-bar off --disable-pip-version-check \
    -r /build/requirements.lock
