import multiprocessing
import numpy as np

def norm(seed):
    return round(float(np.linalg.norm(np.random.default_rng(seed).random((50, 50)))), 6)

if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, pool.map(norm, range(3)))
