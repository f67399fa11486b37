# Step "files": what lies beside the recipe, where it says. The archive on standard input is ringfence's own; links that are in the way may be
# anybody's, and lead nowhere but into the tree.
set -eu
tar -xpvf - -C / --numeric-owner --keep-directory-symlink --no-overwrite-dir
