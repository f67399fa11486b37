import multiprocessing, os, sys

class Jar:
    def __init__(self, n): self.n = n

def open_it(jar):
    return jar.n * 2, __name__, os.path.basename(sys.argv[0]).endswith(".py")

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(pool.map(open_it, [Jar(n) for n in range(4)]))
