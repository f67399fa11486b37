"""What a zygote does: it imports its list once, and then makes children that live in sandboxes.

It speaks with the jailer on descriptor 3 (crates/jail/src/jailer/zygotes.rs, join.rs) and runs before any sandbox
exists, in a jail of its own. A child comes back from `rf_join` inside a sandbox, with everything dropped; then it warms
itself, waits for one program, and becomes it.
"""

import time

STARTED = time.perf_counter()

import ctypes
import gc
import json
import os
import signal
import socket
import struct
import sys

HARNESS = "/usr/lib/ringfence"
CONTROL = 3
FILTER = 4
WORD = struct.Struct("<cII")
STREAMS = 3

import look
import program
import rehearse
import reseed
import warm

for name in ("look", "program", "rehearse", "reseed", "warm"):
    # A program may have modules of these names.
    del sys.modules[name]
del sys.path[0]
sys.path_importer_cache.pop(HARNESS, None)


class Library:
    """join.so, and what of Python must be told of a fork."""

    def __init__(self):
        library = ctypes.PyDLL(HARNESS + "/join.so")
        self.join = library.rf_join
        self.join.restype = ctypes.c_int64
        self.join.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p,
                              ctypes.c_uint32, ctypes.c_uint32]
        self.frameless = program.Frameless(library) if program.Frameless.is_possible() else None
        self.rseq = library.rf_rseq
        self.rseq.restype = ctypes.c_int64
        self.rseq.argtypes = [ctypes.c_ssize_t, ctypes.c_uint32]
        for name in ("PyOS_BeforeFork", "PyOS_AfterFork_Parent", "PyOS_AfterFork_Child"):
            function = getattr(ctypes.pythonapi, name)
            function.restype = None
            setattr(self, name, function)
        libc = ctypes.CDLL(None)
        try:
            self.rseq_area = (ctypes.c_ssize_t.in_dll(libc, "__rseq_offset").value,
                              ctypes.c_uint32.in_dll(libc, "__rseq_size").value)
        except ValueError:
            self.rseq_area = None  # glibc before 2.35 registers nothing


def share():
    """Puts the memory that children will share into huge pages, as far as it lies densely.

    A fork copies one entry of the page table then where it copied 512, and the end of a child gives back as few. What a child
    writes to is copied page by page as before. Kernels before 6.1 refuse, and nothing is lost.
    """
    COLLAPSE, PAGE, PRESENT = 25, 4096, 1 << 63
    DENSE = 384  # of 512
    huge = 2 << 20
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    with open("/proc/self/maps") as maps, open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        for line in maps.read().splitlines():
            span, rights, _, _, inode, *name = line.split(None, 5)
            if rights != "rw-p" or inode != "0" or name and name[0] != "[heap]":
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            for at in range(-(-begin // huge) * huge, end - huge + 1, huge):
                pages = struct.unpack("<512Q", os.pread(pagemap.fileno(), 8 * 512, at // PAGE * 8))
                if sum(page >= PRESENT for page in pages) >= DENSE:
                    madvise(at, huge, COLLAPSE)


def serve(control, library, last_filter):
    """Makes one child for each word of the jailer. Returns only in the children."""
    while True:
        word, fds, _, _ = socket.recv_fds(control, 64, 32, socket.MSG_CMSG_CLOEXEC)
        if not word:
            os._exit(0)
        result = make_child(word, fds, library, last_filter)
        if result == 0:
            control.detach()  # its number now belongs to the stream of this child
            return
        for fd in fds:
            os.close(fd)
        control.send(b"j" + struct.pack("<i", result))


def make_child(word, fds, library, last_filter):
    """Pid of the child, 0 in it, or minus errno."""
    if len(word) < WORD.size or word[:1] != b"J":
        return -22
    _, _, namespaces = WORD.unpack_from(word)
    # A jailer that says it limits the descriptors of this child.
    descriptors = struct.unpack_from("<I", word, WORD.size)[0] if len(word) >= WORD.size + 4 else 0
    if len(fds) != 1 + STREAMS + namespaces:
        return -22
    streams = (ctypes.c_int * STREAMS)(*fds[1:1 + STREAMS])
    entered = (ctypes.c_int * namespaces)(*fds[1 + STREAMS:])
    sys.stdout.flush()
    sys.stderr.flush()
    library.PyOS_BeforeFork()
    result = library.join(fds[0], streams, entered, namespaces, last_filter, len(last_filter), descriptors)
    if result == 0:
        library.PyOS_AfterFork_Child()
    else:
        library.PyOS_AfterFork_Parent()
    return result


def prepare(library):
    """In a new child: what must not be as in the zygote, and pages of its own for what every program writes to."""
    if library.rseq_area:
        library.rseq(*library.rseq_area)
    warm.touch_language()
    reseed.reseed()
    gc.freeze()


def warm_up(started_env, preloaded, own, main_names, imported):
    """At the engine's wish. Its work may draw random numbers: nothing is left to be guessed from."""
    warm.touch_libraries()
    fresh = lambda request: needs_fresh_interpreter(request, started_env, preloaded, own)
    rehearse.rehearse(write_program, fresh, main_names, imported)
    reseed.reseed()
    gc.freeze()


def wait_for_program(started_env, preloaded, own, main_names, imported):
    """The request; ends quietly when the sandbox is not wanted any more."""
    try:
        request = program.read_request(CONTROL, lambda: warm_up(started_env, preloaded, own, main_names, imported))
    except ValueError as error:
        os.write(2, b"ringfence: %s\n" % str(error).encode())
        os._exit(program.CANNOT_START)
    if request is None:
        os._exit(0)
    os.close(CONTROL)
    return request


# Read by libc, Python or a library when it is loaded, and never again.
READ_AT_START = (b"PYTHON", b"LD_", b"MALLOC_", b"GLIBC_", b"LC_", b"LANG", *(name.encode() for name in warm.THREAD_COUNTS))


def needs_fresh_interpreter(request, started_env, preloaded, own):
    """Whether the program would notice that this interpreter was started before it."""
    if request.flags & program.FLAG_FRESH:
        return True
    at_start = lambda env: sorted(variable for variable in env if variable.startswith(READ_AT_START))
    if at_start(request.env) != started_env:
        return True
    home = dict(variable.partition(b"=")[::2] for variable in request.env).get(b"HOME", b"/home/user")
    return own.differ(home) or shadows(preloaded)


class Own:
    """The packages of the user's own home that the template has: none, unless it was exported from a sandbox.

    Those that a sandbox has installed since win over them and over the template's, and a fresh interpreter finds them.
    """

    def __init__(self, home, modules):
        self.installed = installed(home)
        inside = os.fsdecode(home) + "/"
        files = (getattr(module, "__file__", None) for module in modules)
        # What was loaded is what the sandbox has as long as its files are those.
        self.loaded = {path: mark(path) for path in files if isinstance(path, str) and path.startswith(inside)}

    def differ(self, home):
        return installed(home) != self.installed or any(mark(path) != was for path, was in self.loaded.items())


def installed(home):
    """The directories of packages for the user that hold something, with what changes when a package comes or goes."""
    lib = os.path.join(home, b".local/lib")
    found = {}
    try:
        for version in os.listdir(lib):
            packages = os.path.join(lib, version, b"site-packages")
            if version.startswith(b"python3") and os.path.isdir(packages):
                names = sorted(os.listdir(packages))
                if names:
                    found[version] = (os.stat(packages).st_mtime_ns, names)
    except OSError:
        pass
    return found


def mark(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


def shadows(preloaded):
    """Whether the working directory has modules that an interpreter started in it would import instead."""
    LOOK_AT = 10_000
    try:
        with os.scandir(".") as entries:
            for count, entry in enumerate(entries):
                stem, dot, suffix = entry.name.partition(".")
                if stem not in preloaded:
                    continue
                if dot and suffix.endswith(("py", "pyc", "so")):
                    return True
                if not dot and any(os.path.exists(f"{stem}/__init__.{kind}") for kind in ("py", "pyc")):
                    return True
                if count > LOOK_AT:
                    return True
    except OSError:
        pass  # it may be entered but not listed: imports still find what is there
    return False


def execute_anew(path, request):
    """Becomes a new interpreter, which starts as if this one had never been."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    env = dict(variable.partition(b"=")[::2] for variable in request.env)
    try:
        os.execve(sys.executable, [sys.executable, HARNESS + "/fresh.py", path, *request.argv], env)
    except OSError as error:
        os.write(2, b"ringfence: cannot execute %s: %s\n" % (sys.executable.encode(), error.strerror.encode()))
        os._exit(program.CANNOT_START)


def write_program(path, code):
    """Leaves the program where it says that it is: tracebacks and child processes read it there."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(file, 0o644)
            rest = memoryview(code)
            while rest:
                rest = rest[os.write(file, rest):]
        finally:
            os.close(file)
    except OSError as error:
        os.write(2, b"ringfence: cannot write the program: %s\n" % error.strerror.encode())
        os._exit(program.CANNOT_START)


def become(request, started_env, preloaded, own, main_names, frameless, imported):
    """Runs the program. Returns when it is to begin at this interpreter's end."""
    path = os.fsdecode(request.path)
    write_program(path, request.code)
    program.enter(request.cwd)
    if needs_fresh_interpreter(request, started_env, preloaded, own):
        execute_anew(path, request)
    program.set_environment(request.env)
    look.show([sys.executable.encode(), request.path, *request.argv], request.env)
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].ORIGINAL_DIR = os.getcwd()
    argv = list(map(os.fsdecode, request.argv))
    since = program.newest(imported)
    program.run(path, request.code, argv, main_names, imported.union(since) if since else imported, False, frameless)


def main(main_names, started_with):
    control = socket.socket(fileno=CONTROL)
    started_env = sorted(name + b"=" + value for name, value in os.environb.items() if name.startswith(READ_AT_START))
    try:
        last_filter = os.pread(FILTER, 1 << 20, 0)
        os.close(FILTER)
        preload = os.environ.pop("RINGFENCE_PRELOAD", "")
        os.environ.pop("_RINGFENCE_PAD", None)
        warm.import_all([name for name in preload.split(",") if name])
        warm.exercise()
        library = Library()
    except BaseException as error:
        control.send(json.dumps({"error": f"{type(error).__name__}: {error}"[:2000]}).encode())
        os._exit(1)
    preloaded = {name.partition(".")[0] for name in set(sys.modules) - started_with}
    own = Own(os.path.expanduser(b"~"), list(sys.modules.values()))
    imported = frozenset(sys.modules)
    gc.collect()
    gc.freeze()
    try:
        share()
    except (OSError, ValueError, struct.error):
        pass  # children cost a little more then
    ready = {
        "ready": True,
        "threads": len(os.listdir("/proc/self/task")),
        "ready_ms": int((time.perf_counter() - STARTED) * 1000),
        "rss_kib": look.page_bytes() // 1024,
    }
    control.send(json.dumps(ready).encode())
    serve(control, library, last_filter)
    prepare(library)
    request = wait_for_program(started_env, preloaded, own, main_names, imported)
    # This returns before the program begins (see `program.run`), and what goes with it would be written to for that.
    program.kept.append((locals(), sys.modules["__main__"]))
    become(request, started_env, preloaded, own, main_names, library.frameless, imported)
