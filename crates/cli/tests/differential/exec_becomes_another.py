import os, sys
print("before")
sys.stdout.flush()
os.execvp("bash", ["bash", "-c", "echo became bash; exit 8"])
