import sys
sys.stdout.buffer.write(bytes(range(32, 127)) + b"\n")
sys.stdout.flush()
sys.stdout.buffer.write(b"raw\n")
