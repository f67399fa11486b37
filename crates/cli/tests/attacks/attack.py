"""What every attack program begins with. It is put before the attacks of a group and the name of one of them, and run
twice: in a sandbox, where it must print `BLOCKED <reason>`, and on the host without the defence, where it must print
`SUCCEEDED`. System calls are made by number, so that the reason is exactly the kernel's (or the filter's) errno.
"""

import ctypes
import errno
import os
import socket
import struct
import sys
import time

BLOCKED, SUCCEEDED = 10, 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
ATTACKS = {}


class Blocked(Exception):
    """What stopped the attack, in a word or two."""


def attack(function):
    """Registers an attack under its name. One that returns has succeeded; an OSError is what stopped it."""
    ATTACKS[function.__name__] = function
    return function


def call(number, *arguments):
    """One system call; integers, bytes and ctypes objects as arguments."""
    convert = lambda a: ctypes.c_long(a) if isinstance(a, int) else a
    result = _libc.syscall(ctypes.c_long(number), *[convert(a) for a in arguments])
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def reaches(number, *arguments):
    """For calls that would do harm: the kernel looks at arguments that are nonsense, so it would have done the real thing."""
    try:
        call(number, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise


def in_child(work):
    """Runs `work` in a child, so that what it does to its process stays there. Its OSError is ours."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            work()
        except Blocked as blocked:
            os.write(write, str(blocked).encode())
            code = 1
        except OSError as error:
            code = error.errno or 255
        os._exit(code)
    os.close(write)
    status = os.waitpid(pid, 0)[1]
    said = os.read(read, 1000)
    os.close(read)
    if os.WIFSIGNALED(status):
        raise Blocked("signal %d" % os.WTERMSIG(status))
    code = os.WEXITSTATUS(status)
    if said:
        raise Blocked(said.decode())
    if code:
        raise OSError(code, os.strerror(code))


def main(name):
    try:
        ATTACKS[name]()
    except Blocked as blocked:
        print("BLOCKED", blocked, flush=True)
        sys.exit(BLOCKED)
    except OSError as error:
        print("BLOCKED", errno.errorcode.get(error.errno, error.errno), flush=True)
        sys.exit(BLOCKED)
    print("SUCCEEDED", flush=True)
    sys.exit(SUCCEEDED)
