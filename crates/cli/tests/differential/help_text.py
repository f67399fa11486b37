def documented(x):
    "Doubles."
    return 2 * x
help(documented)
