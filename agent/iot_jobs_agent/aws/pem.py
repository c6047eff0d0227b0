"""Says what is wrong with the contents of one PEM file, for people: the SDK only says that TLS cannot be set up.

Pure. It reads the frame of the file (RFC 7468) and the outermost length of the DER inside, and shows none of it.
"""

import base64
import binascii
import re

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_HEADER = re.compile(rb"^[A-Za-z-]+:.*$", re.MULTILINE)  # of an encrypted key in the older form (RFC 1421)
_EDWARDS_CURVES = (bytes.fromhex("06032b6570"), bytes.fromhex("06032b6571"))  # Ed25519, Ed448 (RFC 8410)
_ALGORITHM_WITHIN_BYTES = 20  # the algorithm is near the start of a PKCS #8 key (RFC 5958)
_LINE = 64

AGAIN = "copy the whole file again"
AS_ISSUED = "as issued by AWS IoT, in PEM form"
TAKEN = "use an RSA key of 2048 bits or more, or an ECDSA key on P-256, P-384 or P-521"


def pem_problem(content: bytes, *, private: bool) -> str:
    """Return what is wrong with the file and what to do, to be read after its name; "" if nothing is found.

    `private` says whether it has to hold a private key; otherwise it has to hold certificates.
    """
    wanted = b"PRIVATE KEY" if private else b"CERTIFICATE"
    noun = "private key" if private else "certificate"
    labels = [label for label in _BEGIN.findall(content) if label.endswith(wanted)]
    blocks = [(label, body) for label, body in _BLOCK.findall(content) if label.endswith(wanted)]
    if not labels:
        return f"holds no PEM {noun}; put the {noun} there {AS_ISSUED}"
    if len(blocks) < len(labels):
        return f"is cut off, because a line -----END {labels[-1].decode()}----- is missing; {AGAIN}"
    return next((problem for block in blocks if (problem := _block_problem(*block, private=private))), "")


def rewrapped(content: bytes) -> bytes:
    """Return the blocks of a PEM file with lines as RFC 7468 has them: the SDK takes one long line, OpenSSL does not.

    Blocks that are not base64 are left out.
    """
    lines: list[bytes] = []
    for label, body in _BLOCK.findall(content):
        der = _der(body)
        if der is not None:
            text = base64.b64encode(der)
            lines.append(b"-----BEGIN " + label + b"-----")
            lines += [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
            lines.append(b"-----END " + label + b"-----")
    return b"\n".join(lines) + b"\n"


def certificates_in(content: bytes) -> list[bytes]:
    """Return each certificate of a PEM file by itself, in their order."""
    return [found[0] for found in _BLOCK.finditer(content) if found[1].endswith(b"CERTIFICATE")]


def _block_problem(label: bytes, body: bytes, *, private: bool) -> str:
    if b"ENCRYPTED" in label or b"ENCRYPTED" in body:
        return (
            "is encrypted with a passphrase, which nobody can enter here; "
            "write it without one with `openssl pkey -in ENCRYPTED -out PLAIN`"
        )
    if rb"\n" in body:
        return r"has the two characters \n where its lines should end; write real line breaks"
    der = _der(body)
    if der is None or len(der) != _announced_size_bytes(der):
        return f"is damaged, because characters are missing or wrong; {AGAIN}"
    if private and any(curve in der[:_ALGORITHM_WITHIN_BYTES] for curve in _EDWARDS_CURVES):
        return f"is an Ed25519 or Ed448 key, which AWS IoT does not take; {TAKEN}, and its certificate"
    return ""


def _der(body: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(_HEADER.sub(b"", body).split()), validate=True)
    except binascii.Error:
        return None


def _announced_size_bytes(der: bytes) -> int:
    """Return how long the outermost DER value says that it is, with its header (X.690 8.1.3); 0 if it is none."""
    if len(der) < 2 or der[0] != 0x30:  # noqa: PLR2004 - header, and the tag of a SEQUENCE
        return 0
    if der[1] < 0x80:  # noqa: PLR2004 - the short form
        return 2 + der[1]
    count = der[1] & 0x7F
    return 2 + count + int.from_bytes(der[2 : 2 + count], "big")
