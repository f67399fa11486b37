"""Checks that an executable carries the list of what it was built of, as `cargo auditable` puts it in (section `.dep-v0`: zlib, JSON).

    python3 dist.py EXECUTABLE CARGO.LOCK

Every crate of the list must be in Cargo.lock at that version, and the list must have the crates that the executable cannot be without.
"""

import json
import pathlib
import struct
import sys
import tomllib
import zlib

# Its own parts, and what nothing that it does would work without.
MUST = {"ringfence", "ringfence-jail", "ringfence-egress", "ringfence-store", "rusqlite", "rustls", "tokio", "hyper"}
BYTES_MAX = 8 << 20


def section(image, wanted):
    """The bytes of a section of a 64-bit little-endian ELF file (elf(5)); None where it has none of that name."""
    assert image[:6] == b"\x7fELF\x02\x01", "not a 64-bit ELF file"
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, count, names = struct.unpack_from("<HHH", image, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", image, table + at * size) for at in range(count)]
    texts = headers[names][4]
    for name, _, _, _, offset, length in headers:
        start = texts + name
        if image[start : image.index(b"\0", start)] == wanted:
            return image[offset : offset + length]
    return None


def main():
    executable, lock = map(pathlib.Path, sys.argv[1:])
    packed = section(executable.read_bytes(), b".dep-v0")
    if packed is None:
        sys.exit(f"{executable} carries no list of what it was built of: build it with `make dist`")
    unpacked = zlib.decompressobj().decompress(packed, BYTES_MAX)
    packages = [package for package in json.loads(unpacked)["packages"] if package.get("kind", "runtime") == "runtime"]
    locked = {(package["name"], package["version"]) for package in tomllib.loads(lock.read_text())["package"]}
    listed = {(package["name"], package["version"]) for package in packages}
    strangers = sorted(listed - locked)
    missing = sorted(MUST - {name for name, _ in listed})
    if strangers or missing:
        sys.exit(f"{executable}: not in {lock}: {strangers}; missing: {missing}")
    print(f"{executable}: carries the list of the {len(listed)} crates that it was built of")


main()
