import numpy as np
print(np.arange(6).reshape(2, 3) @ np.ones(3), np.random.default_rng(1).integers(100, size=4), np.random.RandomState(3).rand())
print(np.array([1.0]) / 0, np.geterr())
np.ones(3) @ np.ones(4)
