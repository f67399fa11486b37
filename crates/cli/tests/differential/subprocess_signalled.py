import subprocess
child = subprocess.Popen(["sleep", "100"])
child.terminate()
print(child.wait())
subprocess.run(["bash", "-c", "exit 3"], check=True)
