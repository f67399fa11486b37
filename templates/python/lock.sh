# Resolves requirements.in to requirements.lock: exact versions, each with the SHA-256 of the one wheel that fits the
# template (CPython 3.11, x86_64). Run it with such a Python: PYTHON=python3.11 sh templates/python/lock.sh
set -eu
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
${PYTHON:-python3.11} -c 'import sys; assert sys.version_info[:2] == (3, 11), "the template has CPython 3.11: set PYTHON"'
${PYTHON:-python3.11} -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --dry-run --ignore-installed --only-binary :all: \
    --report "$scratch/report.json" -r requirements.in
"$scratch/venv/bin/python" - "$scratch/report.json" > "$scratch/lock" <<'END'
import json, sys
print("# Made by lock.sh from requirements.in. Do not edit.")
with open(sys.argv[1]) as report:
    items = json.load(report)["install"]
for item in sorted(items, key=lambda item: item["metadata"]["name"].lower()):
    name = item["metadata"]["name"].lower().replace("_", "-")
    digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
    print(f"{name}=={item['metadata']['version']} \\\n    --hash=sha256:{digest}")
END
mv "$scratch/lock" requirements.lock
