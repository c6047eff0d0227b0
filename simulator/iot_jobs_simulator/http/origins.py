"""Which pages in a browser may ask for something: the simulator's own, and nobody else's. Pure.

Any page can have its reader's browser send requests to this machine. The browser says so in `Origin`, which comes with
whatever may change something, and to addresses that it trusts in `Sec-Fetch-Site` (Fetch Standard; Fetch Metadata
Request Headers, W3C). A name in `Host` proves nothing, since its owner can have it point at this machine (DNS
rebinding); an address and `localhost` do.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]/@]+)(:[0-9]{1,5})?")
_OWN: Final = ("same-origin", "none")  # "none" is what a person typed


def host_problem(headers: Mapping[str, str], own_name: str) -> str:
    """What is wrong with the host that a browser asks for, "" if a page there can only be the simulator's own.

    `own_name` is the name or the address that the simulator was told to listen on.
    """
    host = headers.get("Host", "")
    if _is_own(host, own_name):
        return ""
    return f"The page is served to browsers at an address or localhost only, not at {host!r}: another site may own it"


def page_problem(headers: Mapping[str, str], own_name: str) -> str:
    """Why the request of a page in a browser is refused, "" if it is the own page's, or is not a page's at all."""
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site", "none")
    if origin is None and site == "none":
        return ""
    host = headers.get("Host", "")
    own = (None, f"http://{host}", f"https://{host}")  # the port takes both
    is_own = _is_own(host, own_name) and origin in own and site in _OWN
    if is_own:
        return ""
    return (
        "A page in a browser may not control the simulator, except for its own, at an address or localhost;"
        " use that one, curl or a program"
    )


def client_problem(headers: Mapping[str, str], own_name: str) -> str:
    """Why a page may not open a WebSocket for MQTT, "" if it comes from this machine, whatever its port."""
    origin = headers.get("Origin")
    if origin is None or _is_own(_authority(origin), own_name):
        return ""
    return "A page in a browser may use MQTT over WebSocket only if it comes from an address or from localhost"


def _is_own(host: str, own_name: str) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match["name"].strip("[]").lower()
    if name in ("localhost", own_name.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
