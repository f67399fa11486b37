# stdin: "\u00fcber\u0000\n\ud83d\ude80"
import sys
print(sys.stdin.buffer.read())
