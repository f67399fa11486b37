import os, sys
print("buffered", end=" ")
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    print("in the child")
    sys.exit(6)
print("child left with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
