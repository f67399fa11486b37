import sys, threading

def leave():
    print("leaving the thread")
    sys.exit(5)

thread = threading.Thread(target=leave)
thread.start()
thread.join()
print("still here")
