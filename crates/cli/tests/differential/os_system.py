import os
print(os.waitstatus_to_exitcode(os.system("exit 4")))
print(os.popen("echo from a pipe").read())
