import subprocess, sys
if len(sys.argv) > 1:
    print("the child got", sys.argv[1:])
else:
    subprocess.run([sys.executable, __file__, "an argument"], check=True)
