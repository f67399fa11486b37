import sys
print(sys.argv, len(sys.orig_argv), sys.orig_argv[-1])
print(sys.executable, sys.flags.interactive, sys.flags.isolated, sys.flags.no_site, sys.flags.safe_path)
