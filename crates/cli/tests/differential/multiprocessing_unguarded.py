import multiprocessing
context = multiprocessing.get_context("spawn")
try:
    child = context.Process(target=print, args=("child",))
    child.start()
    child.join()
    print("parent saw", child.exitcode)
except RuntimeError as error:
    print("refused in", __name__, str(error).split("\n")[1].strip())
    raise SystemExit(3)
