import sys
print(sys.version_info[:3], sys.byteorder, sys.maxsize, sys.platform)
print(sys.prefix, sys.base_prefix, sys.exec_prefix, sys.implementation.name)
print(sys.getfilesystemencoding(), sys.getdefaultencoding(), sys.getfilesystemencodeerrors())
print(sys.dont_write_bytecode, sys.pycache_prefix, sys.warnoptions, sys._xoptions)
print(sys.getswitchinterval(), sys.flags)
print(hasattr(sys, "ps1"), hasattr(sys, "last_type"), sys.gettrace(), sys.getprofile())
