"""Runs a program as `python3 program.py` would, in an interpreter that is already there.

What a program can see of it is what it would see of its own interpreter: `__main__`, argv, tracebacks, exit codes, the
order in which things end. Two differences are meant: `sys.path[0]` is the working directory, and when the program is
over the process leaves without tearing the whole interpreter down.
"""

import atexit
import gc
import io
import os
import signal
import sys
import weakref
from importlib.machinery import SourceFileLoader

MAGIC = b"RFRUN\x01\0\0"
WARM = b"RFWARM\x01\0"
REQUEST_BYTES_MAX = 8 << 20
FLAG_FRESH = 1

# What is kept to the end, because giving it back would copy pages that are shared with the zygote.
kept = []

# What CPython says when the standard streams cannot be flushed at exit.
FLUSH_FAILED = 120
# What shells say when a program cannot be started.
CANNOT_START = 126


class Request:
    """What to run; every text is bytes, as it came."""

    def __init__(self, flags, path, cwd, code, argv, env):
        self.flags = flags
        self.path = path
        self.cwd = cwd
        self.code = code
        self.argv = argv
        self.env = env


def read_request(fd, warm=None):
    """Reads one request (crates/guest/src/park.rs). None when the other side closed without one.

    Calls `warm` for each wish to be warmed that comes before it.
    """
    while True:
        header = _read(fd, len(MAGIC) + 4)
        if header is None:
            return None
        if header != WARM + bytes(4) or warm is None:
            break
        warm()
    length = int.from_bytes(header[len(MAGIC):], "little")
    if header[: len(MAGIC)] != MAGIC or length > REQUEST_BYTES_MAX:
        raise ValueError("not a request")
    rest = _read(fd, length)
    if rest is None:
        return None
    at = 0

    def number():
        nonlocal at
        at += 4
        if at > length:
            raise ValueError("a request that is cut off")
        return int.from_bytes(rest[at - 4:at], "little")

    def text():
        nonlocal at
        size = number()
        at += size
        if at > length:
            raise ValueError("a request that is cut off")
        return bytes(rest[at - size:at])

    def texts():
        return [text() for _ in range(number())]

    return Request(number(), text(), text(), text(), texts(), texts())


def _read(fd, size):
    data = bytearray()
    while len(data) < size:
        part = os.read(fd, min(size - len(data), 1 << 18))
        if not part:
            return None
        data += part
    return data


def enter(cwd):
    """Makes `cwd` the working directory, or ends with a message."""
    try:
        os.chdir(cwd)
    except OSError as error:
        os.write(2, b"ringfence: cannot enter the working directory %s: %s\n" % (cwd, error.strerror.encode()))
        os._exit(CANNOT_START)


def set_environment(env):
    """Replaces the environment by the `NAME=value` in `env`."""
    wanted = [tuple(variable.partition(b"=")[::2]) for variable in env]
    if wanted == list(os.environb.items()):
        return  # most are as the interpreter was started
    os.environ.clear()
    for name, value in wanted:
        os.environb[name] = value
    # What libc and Python had read of it before.
    time = sys.modules.get("time")
    if time is not None and hasattr(time, "tzset"):
        time.tzset()


def run(path, source, argv, main_names, imported, whole_interpreter_is_ours, frameless=None):
    """Runs `source` as the program at `path`, and exits as it would.

    `main_names` are the names that a script's `__main__` starts with, `imported` the modules that were there before.
    With `frameless` (class `Frameless`) this returns, and the program begins when the interpreter has come to its end.
    """
    pid = os.getpid()
    sys.argv = [path, *argv]
    sys.orig_argv = [sys.executable, path, *argv]
    sys.path[0:0] = [os.getcwd()]
    main = _new_main(path, main_names)

    def finish(error):
        _finish(error, path, imported, whole_interpreter_is_ours, os.getpid() == pid)

    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except BaseException as error:
        finish(_as_if_read_from_a_file(error.with_traceback(None), path, source))
    source = None
    if frameless is not None:
        frameless.arrange(code, main.__dict__, finish)
        return
    namespace, main = main.__dict__, None
    error = _execute(code, namespace)
    code = namespace = None
    finish(error)


def _finish(error, path, imported, whole_interpreter_is_ours, is_first_process):
    status, interrupted = (0, False) if error is None else _report(error)
    error = None
    _join_threads()
    if is_first_process:
        keep_figures(path)
    if whole_interpreter_is_ours and not interrupted:
        sys.exit(status)
    atexit._run_exitfuncs()
    flushed = _flush(True)
    _take_down(imported)
    flushed = _flush(False) and flushed
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    status = status & 0xFF if flushed else FLUSH_FAILED
    if is_first_process:
        _close_streams()
    os._exit(status)


def _close_streams():
    """Lets the engine see the end of the output now: the kernel closes it only after it has taken the memory apart, which
    takes longer than many a program."""
    for stream in (0, 1, 2):
        try:
            os.close(stream)
        except OSError:
            pass


class Frameless:
    """Runs a program with no Python frame below its own (crates/guest/join/run.rs)."""

    @staticmethod
    def is_possible():
        # From 3.12 on an interpreter at its end starts no thread and no process, before it calls what is used here.
        return sys.version_info < (3, 12) and "threading" in sys.modules

    def __init__(self, library):
        import ctypes

        api, pointer = ctypes.pythonapi, ctypes.c_void_p
        names = ("PyObject_CallNoArgs", "PyEval_EvalCode", "Py_LeaveRecursiveCall", "PyErr_Fetch", "PyErr_NormalizeException")
        fields = (*names, "begin", "code", "globals", "end", "kind", "value", "traceback")
        structure = type("Run", (ctypes.Structure,), {"_fields_": [(name, pointer) for name in fields]})
        self.run = structure(*(ctypes.cast(getattr(api, name), pointer).value for name in names))
        self.start = library.rf_run
        self.start.argtypes = [pointer]
        self.as_object = lambda address: ctypes.cast(address, ctypes.py_object).value
        self.address = ctypes.addressof(self.run)
        self.enter_context = api.PyContext_Enter
        self.enter_context.argtypes = [ctypes.py_object]

    def arrange(self, code, namespace, finish):
        import contextvars
        import functools

        threading = sys.modules["threading"]
        shutdown = threading._shutdown
        borrowed = [code, namespace]

        def begin():
            threading._shutdown = shutdown
            # The harness's own work has left values in its context.
            self.enter_context(contextvars.Context())

        def end():
            try:
                borrowed.clear()
                error = None
                if self.run.value:
                    error = self.as_object(self.run.value)
                    traceback = self.as_object(self.run.traceback) if self.run.traceback else None
                    error = error.with_traceback(traceback)
                    traceback = None
                finish(error)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)

        self.run.begin, self.run.end = id(begin), id(end)
        self.run.code, self.run.globals = id(code), id(namespace)
        self.called = begin, end
        threading._shutdown = functools.partial(self.start, self.address)


def _new_main(path, names):
    main = type(sys)("__main__")
    values = {
        "__annotations__": {},
        "__builtins__": sys.modules["builtins"],
        "__file__": path,
        "__loader__": SourceFileLoader("__main__", path),
    }
    for name in names:
        if name != "__name__":
            main.__dict__[name] = values.get(name)
    sys.modules["__main__"] = main
    return main


def _execute(code, namespace):
    """What the program was ended by, or None. Nothing here may be seen in its traceback, nor in `sys.exc_info()`."""
    try:
        exec(code, namespace)
    except BaseException as error:
        # The first entry is this frame.
        return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    return None


def _as_if_read_from_a_file(error, path, source):
    """Compiling bytes words some mistakes differently than reading them from a file does."""
    if isinstance(error, (SyntaxError, ValueError)) and b"\0" in source:
        return SyntaxError("source code cannot contain null bytes")
    if isinstance(error, SyntaxError) and str(error).startswith("unknown encoding: "):
        return SyntaxError("encoding problem: " + error.msg.partition(": ")[2])
    if isinstance(error, SyntaxError) and "'utf-8' codec can't decode" in str(error):
        for number, line in enumerate(source.split(b"\n"), 1):
            try:
                line.decode()
            except UnicodeDecodeError as wrong:
                return SyntaxError(
                    f"Non-UTF-8 code starting with '\\x{line[wrong.start]:02x}' in file {path} on line {number}, but no "
                    "encoding declared; see https://peps.python.org/pep-0263/ for details"
                )
    return error


def _report(error):
    """Says what ended the program; exit status, and whether it was interrupted from the keyboard."""
    if isinstance(error, SystemExit):
        return _status_of(error), False
    kind, traceback = type(error), error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, traceback
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        _say("sys.excepthook is missing\n")
        sys.__excepthook__(kind, error, traceback)
        return 1, isinstance(error, KeyboardInterrupt)
    try:
        hook(kind, error, traceback)
    except SystemExit as exit:
        return _status_of(exit), False
    except BaseException as second:
        second = second.with_traceback(second.__traceback__ and second.__traceback__.tb_next)
        second.__context__ = None if second.__context__ is error else second.__context__
        _say("Error in sys.excepthook:\n")
        sys.__excepthook__(type(second), second, second.__traceback__)
        _say("\nOriginal exception was:\n")
        sys.__excepthook__(kind, error, traceback)
    return 1, isinstance(error, KeyboardInterrupt)


def _status_of(exit):
    code = exit.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code if -(1 << 63) <= code < 1 << 63 else -1
    try:
        _say(str(code))
    except BaseException:
        pass  # its __str__ failed: CPython is silent about that
    _say("\n")
    return 1


def _say(text):
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BaseException:
        pass


def _join_threads():
    threading = sys.modules.get("threading")
    if threading is not None:
        try:
            threading._shutdown()
        except BaseException:
            sys.excepthook(*sys.exc_info())


def keep_figures(path):
    """Saves what is open in matplotlib beside the program: nobody is there to look at it."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    managers = helpers.Gcf.get_all_fig_managers() if helpers is not None and hasattr(helpers, "Gcf") else []
    if not managers:
        return
    FIGURES_MAX = 16
    parent, name = os.path.split(path)
    directory = os.path.join(parent, "figures", name[: -len(".py")])
    if len(managers) > FIGURES_MAX:
        _say(f"ringfence: only the first {FIGURES_MAX} of {len(managers)} figures are kept\n")
    for number, manager in enumerate(managers[:FIGURES_MAX], 1):
        try:
            os.makedirs(directory, exist_ok=True)
            manager.canvas.figure.savefig(f"{directory}/figure-{number}.png", format="png")
        except Exception as error:
            _say(f"ringfence: figure {number} is not kept: {error}\n")


def _flush(report):
    """Flushes the standard streams; False when output was lost."""
    flushed = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is None or getattr(stream, "closed", False):
            continue
        try:
            stream.flush()
        except BaseException as error:
            flushed = False
            if name == "stdout" and report:
                _say(f"Exception ignored in: {stream!r}\n{type(error).__name__}: {error}\n")
    return flushed


def _take_down(imported):
    """Ends the program's own objects, so that finalisers run and files are written, but not the interpreter's.

    In the order of CPython: modules are dropped, then cycles, then what is still there is emptied.
    """
    sys.last_type = sys.last_value = sys.last_traceback = None
    if sys.version_info >= (3, 12):
        sys.last_exc = None
    gc.collect()
    # Daemon threads run on, where CPython would have stopped them: what they use is left to them.
    if len(sys._current_frames()) == 1:
        own = ["__main__", *(name for name in newest(imported) if _is_program_s(sys.modules[name]))]
        own = [sys.modules.pop(name) for name in own if name in sys.modules]
        own = [weakref.ref(module) for module in own]
        gc.collect()
        for module in reversed(own):
            if module() is not None:
                _clear(module().__dict__)
        gc.collect()
    for thing in gc.get_objects():
        if isinstance(thing, (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            try:
                thing.closed or thing.flush()
            except BaseException:
                pass
    try:
        import ctypes

        ctypes.CDLL(None).fflush(None)  # what C libraries have printed
    except BaseException:
        pass


def newest(imported):
    """Names of the modules that came after those in `imported`, oldest first.

    The others are not looked at: a look writes to the page that a name is on, and there are hundreds of names.
    """
    ENOUGH = 16  # of those in `imported` in a row: before them are only more
    names, known = [], 0
    try:
        for name in reversed(sys.modules):
            if name not in imported:
                names.append(name)
                known = 0
            elif (known := known + 1) == ENOUGH:
                break
    except TypeError:
        # The program has put something else in its place.
        return [name for name in list(sys.modules) if name not in imported and name != "__main__"]
    return [name for name in reversed(names) if name != "__main__"]


def _is_program_s(module):
    """A Python file that belongs to no installation."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.endswith(".py") and not file.startswith((sys.prefix + "/lib", "/usr/lib/"))


def _clear(names):
    """The order of CPython's own: names with one underscore first, the builtins never."""
    for private in (True, False):
        for name in list(names):
            if isinstance(name, str) and name != "__builtins__":
                if (name[:1] == "_" and name[1:2] != "_") == private:
                    names[name] = None
