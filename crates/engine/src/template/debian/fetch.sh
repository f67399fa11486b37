# Step "fetch": Debian's essential packages into /tree, laid out there, so that the next step can run in it. Nothing of a package is
# executed.
set -eu
mkdir -p /tree/var/lib/dpkg
: > /tree/var/lib/dpkg/status
. /build/apt.sh
echo "fetch: reading the package lists of $SUITE"
apt update
echo "fetch: downloading the essential packages"
apt install --download-only '?essential'
cd /tree/var/cache/apt/archives
ls ./*.deb > /tree/var/cache/essential

# All of /usr is merged in this suite: the links must be there before a package brings /bin as a directory.
mkdir -p /tree/usr
for dir in bin sbin lib lib64 lib32 libx32; do
    mkdir -p /tree/usr/$dir
    ln -sfn usr/$dir /tree/$dir
done
echo "fetch: laying out $(wc -l < /tree/var/cache/essential) essential packages"
while read -r deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -xp -C /tree --keep-directory-symlink
done < /tree/var/cache/essential
