import io, sys
sys.stdout = io.StringIO()
print("goes nowhere")
sys.stderr.write(repr(sys.stdout.getvalue()) + "\n")
sys.stdout = sys.__stdout__
print("goes out")
