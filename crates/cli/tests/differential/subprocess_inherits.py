import subprocess, sys
print("ours, first")
sys.stdout.flush()
subprocess.run(["bash", "-c", "echo to output; echo to error >&2; ls /proc/self/fd | wc -l"])
