print({"b", "a"} == {"a", "b"}, hash(1), hash(2.5), hash((1, 2)))
import sys
print(sys.hash_info.width, sys.flags.hash_randomization)
