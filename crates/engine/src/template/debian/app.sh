# Step "app": an app's packages from npm, by the hashes of its lock file, into its directory. No script of a package is executed.
#
# DIRECTORY, OWNER, and package.json with its lock file in the archive on standard input. The operator's registry and proxy as in step "npm".
set -eu
[ ! -e /build/npmrc ] || export NPM_CONFIG_GLOBALCONFIG=/build/npmrc
export NODE_OPTIONS=--use-openssl-ca SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
tar -xpf - -C / --numeric-owner --keep-directory-symlink
cd "$DIRECTORY"
echo "app: installing $(grep -c '"integrity"' package-lock.json) packages into $DIRECTORY"
# In the order of what it wrote: root's npm would give everything to the owner of the directory by itself.
npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --cache /tmp/npm-cache
if [ -d node_modules ]; then
    # A third of what packages weigh, for whoever debugs the packages themselves.
    find node_modules -name '*.map' -delete
    chown -R --no-dereference "$OWNER" node_modules
fi
chown --no-dereference "$OWNER" . package.json package-lock.json
# npm keeps the times of packages, and gives what it makes itself the time of the build.
find . -exec touch -h -d '2020-01-01 00:00:00 UTC' {} +
