"""Goes through the motions of a program once, in a child that waits on the shelf.

A forked child copies each page when it first writes to it, and in Python even reading writes (reference counts). Between
its request and its first instruction a program paid for 430 such pages, two milliseconds; after a rehearsal for next to
none. The program is `pass`.
"""

import gc
import os
import sys

import look
import program

PATH = b"/run/ringfence/rehearsal.py"
CWD = b"/home/user"
CODE = b"pass\n"


def rehearse(write_program, needs_fresh_interpreter, main_names, imported):
    """Reads, prepares, runs and ends a program that does nothing, and leaves nothing of it but pages."""
    main, argv, orig_argv, path = sys.modules["__main__"], sys.argv, sys.orig_argv, list(sys.path)
    stored = {name: getattr(sys, name) for name in ("last_type", "last_value", "last_traceback") if hasattr(sys, name)}
    env = [name + b"=" + value for name, value in os.environb.items()]
    where = os.getcwd()
    try:
        request = _read(env)
        file = os.fsdecode(request.path)
        write_program(file, request.code)
        program.enter(request.cwd)
        needs_fresh_interpreter(request)
        program.set_environment(request.env)
        look.remember()
        look.show([sys.executable.encode(), request.path], request.env)
        sys.argv = [file]
        namespace = program._new_main(file, main_names).__dict__
        program._execute(compile(request.code, file, "exec", dont_inherit=True), namespace)
        namespace = None
        # Not its threads: `threading` can be shut down once only.
        program.keep_figures(file)
        program._flush(False)
        since = program.newest(imported)
        program._take_down(imported.union(since) if since else imported)
        os.unlink(file)
    except Exception:
        # A page that was not touched costs a few microseconds, that is all.
        pass
    finally:
        os.chdir(where)
        sys.modules["__main__"], sys.argv, sys.orig_argv, sys.path[:] = main, argv, orig_argv, path
        for name in ("last_type", "last_value", "last_traceback"):
            if name in stored:
                setattr(sys, name, stored[name])
            elif hasattr(sys, name):
                delattr(sys, name)
    gc.collect()


def _read(env):
    """The request as it would come: small enough for a pipe."""
    text = lambda value: len(value).to_bytes(4, "little") + value
    rest = bytes(4) + text(PATH) + text(CWD) + text(CODE) + bytes(4)
    rest += len(env).to_bytes(4, "little") + b"".join(map(text, env))
    reader, writer = os.pipe()
    try:
        os.write(writer, program.MAGIC + len(rest).to_bytes(4, "little") + rest)
        return program.read_request(reader)
    finally:
        os.close(reader)
        os.close(writer)
