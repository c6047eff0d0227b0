"""What may be shown on a terminal: handlers, operators and the service choose words that would command it."""


def printable(text: str) -> str:
    """Return `text` with all that is neither printable nor the end of a line replaced."""
    return "".join(each if each.isprintable() or each in "\n\t" else "�" for each in text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return `text` as a line that cannot pass for two."""
    return printable(text).replace("\n", "�")
