import atexit, os
file = open("left_open.txt", "w")
file.write("kept")

def look():
    print(os.path.getsize("left_open.txt"))

atexit.register(look)
