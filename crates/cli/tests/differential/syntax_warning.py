if 1 is 1:
    print("warned")
"\d"
assert (1, "always true")
