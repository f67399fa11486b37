import multiprocessing

def fail():
    raise ValueError("in the child")

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=fail, name="worker")
    child.start()
    child.join()
    print(child.exitcode)
