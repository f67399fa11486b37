import faulthandler, tempfile
print(faulthandler.is_enabled())
with tempfile.TemporaryFile() as file:
    faulthandler.dump_traceback(file=file, all_threads=True)
    file.seek(0)
    # The first line has the thread's address.
    for line in file.read().decode().splitlines()[1:]:
        print(line.replace(__file__, "PROG"))
