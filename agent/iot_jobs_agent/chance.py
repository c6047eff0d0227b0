"""What is drawn by chance: jitter, tokens, names. From the kernel, since `random` and `secrets` are slow to import."""

import os


def fraction() -> float:
    """Return a number in [0, 1), each multiple of 2**-53 as likely as any other."""
    return (int.from_bytes(os.urandom(8), "big") >> 11) / (1 << 53)


def random_hex(size_bytes: int = 16) -> str:
    """Return hexadecimal digits that nobody can predict, two for each byte."""
    return os.urandom(size_bytes).hex()


def below(limit: int) -> int:
    """Return a whole number from 0 to `limit` - 1. `limit` is below 2**64 by far, so each is as likely."""
    return int.from_bytes(os.urandom(16), "big") % limit
