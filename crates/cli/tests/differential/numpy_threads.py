import os
import numpy as np
a = np.random.default_rng(0).random((300, 300))
print(round(float((a @ a).trace()), 6), os.environ.get("OPENBLAS_NUM_THREADS"))
