"""Makes the children of one zygote differ in everything that is random.

Only what is imported can hold state; nothing is imported for it. Not changed: the seed of `hash(str)` and the addresses
of code, which all children of a zygote share.
"""

import os
import sys


def reseed():
    """To be called once in a new child, after `PyOS_AfterFork_Child` (which reseeds `random`)."""
    loaded = sys.modules.get
    if loaded("numpy.random"):
        loaded("numpy.random").seed()
    if loaded("_ssl"):
        # OpenSSL reseeds when its pid changes, but two children in two pid namespaces may have the same.
        loaded("_ssl").RAND_add(os.urandom(32), 32.0)
    if loaded("multiprocessing.process"):
        process = loaded("multiprocessing.process")
        process.current_process().authkey = os.urandom(32)
    if loaded("tempfile"):
        loaded("tempfile")._name_sequence = None
        loaded("tempfile").tempdir = None
    if loaded("uuid"):
        loaded("uuid")._node = None
        loaded("uuid")._last_timestamp = None
    if loaded("torch"):
        loaded("torch").seed()
    if loaded("threading"):
        thread = loaded("threading").main_thread()
        if hasattr(thread, "_set_native_id"):
            thread._set_native_id()
