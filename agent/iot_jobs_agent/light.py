"""Keeps modules out of the running agent that libraries import whether they need them or not.

asyncio imports `ssl` and hashlib imports `_hashlib`, which load OpenSSL: 5 MB, although TLS is the SDK's, and Python
has the hashes itself. shutil imports what it needs for archives, and uuid another library. All of them do without.
"""

import importlib
import importlib.util
import sys

LEFT_OUT = ("ssl", "_hashlib", "_uuid", "bz2", "lzma")
_OWN_HASHES = ("_md5", "_sha1", "_sha3", "_blake2")


def leave_out() -> None:
    """Let nobody import these modules from now on, as far as they are not there yet and nobody has to have them."""
    for name in LEFT_OUT:
        if name != "_hashlib" or _has_own_hashes():
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # how Python says that there is no module


def let_in() -> None:
    """Let them be imported again. Those who did without go on so."""
    for name in LEFT_OUT:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]


def give_ssl_to_asyncio() -> None:
    """Make asyncio as if it had imported `ssl`. Idempotent."""
    let_in()
    ssl = importlib.import_module("ssl")
    lacking = [
        module
        for name, module in sys.modules.items()
        if name.startswith("asyncio.") and vars(module).get("ssl", module) is None
    ]
    for module in lacking:
        vars(module)["ssl"] = ssl
    if lacking:
        importlib.reload(sys.modules["asyncio.sslproto"])  # it has made classes of what was there


def _has_own_hashes() -> bool:
    names = [*_OWN_HASHES, "_sha2" if sys.version_info >= (3, 12) else "_sha256"]
    return all(importlib.util.find_spec(name) for name in names)
