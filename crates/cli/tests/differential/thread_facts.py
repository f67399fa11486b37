import threading
print(threading.main_thread() is threading.current_thread())
print([t.name for t in threading.enumerate()], threading.main_thread().native_id == threading.get_native_id())
print(threading.Thread().name, threading.Thread(target=print).name)
