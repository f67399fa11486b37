import threading, time

def work():
    time.sleep(0.1)
    print("the thread ends after the body")

threading.Thread(target=work).start()
print("body ends")
