import importlib, os
with open("neighbour_module.py", "w") as file:
    file.write("print('imported as', __name__)\nvalue = 3\n")
importlib.invalidate_caches()
import neighbour_module
print(neighbour_module.value, os.path.basename(neighbour_module.__file__))
