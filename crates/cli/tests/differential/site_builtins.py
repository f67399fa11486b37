print(type(exit).__name__, type(quit).__name__, type(copyright).__name__, exit)
import site, sys
print(site.ENABLE_USER_SITE, site.getusersitepackages(), [m for m in ("sitecustomize", "usercustomize") if m in sys.modules])
