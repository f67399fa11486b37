# stdin: "one\ntwo\nthree, without an end"
import sys
print(input("? "))
print([line for line in sys.stdin])
print(sys.stdin.read() == "")
