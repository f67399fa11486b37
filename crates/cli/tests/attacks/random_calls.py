"""System calls with random numbers and arguments, in children that are killed soon. Runs until its deadline and prints how many
were made and how many succeeded. `SEED` stands before it, so that a run can be made again.
"""

import ctypes
import mmap
import os
import random
import signal
import struct
import time

SLOTS = 512
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
# Made and succeeded, a pair for each child at a time. A child may spoil its own.
counts = mmap.mmap(-1, SLOTS * 16)
page = mmap.mmap(-1, 1 << 16)
page.write(random.Random(SEED).randbytes(1 << 16))
base = ctypes.addressof(ctypes.c_char.from_buffer(page))
paths = [ctypes.create_string_buffer(path) for path in (
    b"/proc/self/mem", b"/dev/null", b"/tmp/x", b"/", b".", b"/proc/self/exe", b"/sys", b"/data", b"")]


def argument(rng):
    kind = rng.randrange(9)
    if kind == 0:
        return 0
    if kind == 1:
        return -1
    if kind == 2:
        return rng.randrange(16)
    if kind == 3:
        return 1 << rng.randrange(63)
    if kind == 4:
        return rng.getrandbits(63)
    if kind == 5:
        return base + rng.randrange(1 << 16)
    if kind == 6:
        return ctypes.addressof(rng.choice(paths))
    if kind == 7:
        return -100
    return rng.randrange(1 << 16)


def child(number):
    """At most 300 calls. What they do to this process is part of it."""
    os.close(1)
    os.close(2)
    rng = random.Random(SEED * 1_000_003 + number)
    slot = number % SLOTS * 16
    for made in range(1, 301):
        # One of 20 has a number of another ABI, or none.
        call = rng.randrange(470) if rng.randrange(20) else rng.getrandbits(31)
        arguments = [ctypes.c_long(argument(rng)) for _ in range(6)]
        struct.pack_into("q", counts, slot, made)
        if libc.syscall(ctypes.c_long(call), *arguments) >= 0:
            struct.pack_into("q", counts, slot + 8, struct.unpack_from("q", counts, slot + 8)[0] + 1)
    os._exit(0)


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    number = made = succeeded = 0
    running = {}
    said = time.monotonic()
    while True:
        while len(running) < 8:
            number += 1
            struct.pack_into("qq", counts, number % SLOTS * 16, 0, 0)
            try:
                pid = os.fork()
            except OSError:
                # Grandchildren hold all places; the deadline ends them.
                break
            if pid == 0:
                try:
                    child(number)
                finally:
                    os._exit(1)
            running[pid] = (number, time.monotonic())
        for pid, (which, began) in list(running.items()):
            try:
                done = os.waitpid(pid, os.WNOHANG)[0]
            except ChildProcessError:
                done = pid
            if not done and time.monotonic() - began > 0.3:
                os.kill(pid, signal.SIGKILL)
            if done:
                del running[pid]
                a, b = struct.unpack_from("qq", counts, which % SLOTS * 16)
                if 0 <= b <= a <= 300:
                    made, succeeded = made + a, succeeded + b
        if time.monotonic() - said > 0.2:
            said = time.monotonic()
            print("calls", made, succeeded, flush=True)
        time.sleep(0.002)


main()
