import threading, time

def work():
    while True:
        time.sleep(0.01)

threading.Thread(target=work, daemon=True).start()
print(threading.active_count(), threading.current_thread().name, threading.main_thread().ident == threading.get_ident())
