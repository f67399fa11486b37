"""What Python trusts is what the system trusts, also where a package brings a list of its own.

certifi is such a package, and programs install newer ones; pip, and whatever else carries a copy, has one in `_vendor`. Debian's
own package of certifi does what is done here: it says where the system's list is. Only the module that says so is looked for,
and it is changed when it is imported, so that a start costs nothing more.
"""

import sys

TRUSTED = "/etc/ssl/certs/ca-certificates.crt"


def where():
    """Where the list of trusted authorities is."""
    return TRUSTED


def contents():
    """The list of trusted authorities."""
    with open(TRUSTED, encoding="ascii") as file:
        return file.read()


class Certificates:
    """Finds `certifi.core` where it is, and nothing else."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "certifi.core" and not name.endswith("._vendor.certifi.core"):
            return None
        for finder in sys.meta_path:
            if finder is Certificates or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        execute = getattr(spec.loader, "exec_module", None)
        if execute is not None:

            def exec_module(module):
                execute(module)
                module.where, module.contents = where, contents

            # One loader was made for this module alone.
            spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Certificates)
