import subprocess, sys
done = subprocess.run([sys.executable, "-c", "import sys; print(sys.stdin.read().upper()); sys.exit(3)"], input="spoon", capture_output=True, text=True)
print(done.returncode, done.stdout, done.stderr)
