# stdin: "gr\u00fc\u00dfe \u2603\n\u65e5\u672c"
import sys
for line in sys.stdin:
    print(len(line), line.strip())
