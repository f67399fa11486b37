import os, subprocess
os.environ["SPOON"] = "silver"
print(subprocess.run(["bash", "-c", "echo $SPOON"], capture_output=True, text=True).stdout)
os.environ.clear()
print(len(os.environ), subprocess.run(["/usr/bin/env"], capture_output=True, text=True).stdout)
