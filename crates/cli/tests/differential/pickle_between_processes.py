import pickle, subprocess, sys

class Jar:
    n = 3

code = "import pickle, sys; pickle.load(sys.stdin.buffer)"
done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(Jar()), capture_output=True)
print(done.returncode, done.stderr.decode().splitlines()[-1])
