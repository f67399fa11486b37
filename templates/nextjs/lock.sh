# Resolves app/package.json to app/package-lock.json: exact versions, each with its hash. Needs npm 11, whose own hash is in
# template.toml: npm view npm@VERSION dist.integrity
set -eu
cd "$(dirname "$0")/app"
rm -f package-lock.json
npm install --package-lock-only --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved=false --registry https://registry.npmjs.org/
