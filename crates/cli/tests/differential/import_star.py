from math import *
from json import *
print(floor(2.5), dumps([1]))
