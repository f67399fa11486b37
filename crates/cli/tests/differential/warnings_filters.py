import warnings
print([(f[0], f[2].__name__) for f in warnings.filters if f[3] == 0 and f[1] is None])
warnings.warn("ignored", PendingDeprecationWarning)
for _ in range(3):
    warnings.warn("once for this line")
