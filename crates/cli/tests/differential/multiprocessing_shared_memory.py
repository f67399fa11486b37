from multiprocessing import Process, Value, shared_memory

def work(value, name):
    memory = shared_memory.SharedMemory(name=name)
    memory.buf[0] = 42
    memory.close()
    value.value = 7

if __name__ == "__main__":
    memory = shared_memory.SharedMemory(create=True, size=16)
    value = Value("i", 0)
    child = Process(target=work, args=(value, memory.name))
    child.start(); child.join()
    print(value.value, memory.buf[0], child.exitcode)
    memory.close(); memory.unlink()
