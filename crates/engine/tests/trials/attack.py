"""Looks for the sample bars wherever a program can look, and prints where they are, as JSON.

Standard input: a digest, and then needles, each with every bit inverted, so that no place holds one only because this program does.
"""

import json
import os
import socket
import stat
import sys

INVERT = bytes(255 - byte for byte in range(256))
digest, *needles = sys.stdin.buffer.read().split(b"\n\n\n")
digest = digest.decode()
BLOCK = 1 << 20
found = {}


def note(where, what):
    found.setdefault(where, [])
    if len(found[where]) < 5:
        found[where].append(str(what))


def holds(read):
    """Whether a stream holds a needle. Blocks overlap, so that none is missed between two."""
    rest = b""
    while True:
        block = read(BLOCK)
        if not block:
            return False
        inverted = (rest + block).translate(INVERT)
        if any(needle in inverted for needle in needles):
            return True
        rest = block[-256:]


def look_into(path, where):
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return
        with open(path, "rb", buffering=0) as file:
            if holds(file.read):
                note(where, path)
    except OSError:
        pass


def files():
    for top in sorted(os.listdir("/")):
        if top in ("proc", "sys", "dev"):
            continue
        for directory, _, names in os.walk("/" + top):
            for name in names:
                # Libraries hold no bars; everything that could is read.
                if not name.endswith((".so", ".pyc", ".py")) and ".so." not in name:
                    look_into(os.path.join(directory, name), "files")


def descriptors():
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if number > 2 and not target.startswith(("/proc/", "pipe:")):
            note("descriptors", f"{number} {target}")
        look_into(f"/proc/self/fd/{name}", "descriptors that hold bars")


def mounts():
    with open("/proc/self/mountinfo") as file:
        for line in file:
            if digest in line or " /data " in line:
                note("mounts", line.strip())
    # Other ways to the layers, and to the file systems of others.
    for pid in os.listdir("/proc"):
        if pid.isdigit() and pid not in ("1", str(os.getpid())):
            note("processes", pid)
    for path in ("/proc/1/root/data", "/proc/1/root/l", "/proc/1/cwd", "/proc/self/root/l", "/../l", "/l"):
        try:
            listed = os.listdir(path)
        except OSError:
            continue
        if "adjusted" in listed or digest in listed:
            note("ways round", path)


def memory():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as mem:
        for line in list(maps):
            span, rights, *_ = line.split()
            if "r" not in rights or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            if end - begin > 256 << 20:
                continue
            try:
                mem.seek(begin)
                left = end - begin

                def read(size):
                    nonlocal left
                    block = mem.read(min(size, left))
                    left -= len(block)
                    return block

                if holds(read):
                    note("memory", line.strip())
            except (OSError, ValueError):
                continue


def network():
    for address in (("93.184.215.14", 80), ("127.0.0.1", 7433), ("10.0.0.1", 22), ("169.254.169.254", 80)):
        connection = socket.socket()
        connection.settimeout(3)
        try:
            connection.connect(address)
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if connection.recv(1):
                note("network", address)
        except OSError:
            pass
        finally:
            connection.close()


try:
    if os.listdir("/data"):
        note("data", sorted(os.listdir("/data")))
except OSError:
    pass
for search in (files, descriptors, mounts, memory, network):
    search()
print(json.dumps(found))
