# Last step of the build: what the template promises, tried before anybody depends on it. Runs as the user, without network.
set -eu
for program in bash curl file git jq less ps unzip xz; do
    command -v "$program" > /dev/null || { echo "check: $program is missing" >&2; exit 1; }
done
! command -v sudo > /dev/null
cd "$(mktemp -d)"
git -c init.defaultBranch=main init -q
echo 1 > a
git add a
git -c user.name=a -c user.email=a@b commit -q -m one
test "$(git log --format=%s)" = one
test "$(echo '{"price": 101.5}' | jq .price)" = 101.5
set -- bash curl git jq
printf '@packages ['
comma=
for package; do
    printf '%s{"name":"%s","version":"%s"}' "$comma" "$package" "$(dpkg-query -W -f '${Version}' "$package")"
    comma=,
done
printf ']\n'
