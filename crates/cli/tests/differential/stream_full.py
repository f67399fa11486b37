import os, sys
full = os.open("/dev/full", os.O_WRONLY)
os.dup2(full, 1)
print("does not fit")
