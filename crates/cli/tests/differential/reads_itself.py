with open(__file__) as file:
    print(file.read() == open(__file__, "rb").read().decode(), file.name == __file__)
import os
print(os.path.isabs(__file__), os.access(__file__, os.R_OK))
