"""Makes text safe for a terminal: what handlers, operators and the service write may contain escape sequences."""


def printable(text: str) -> str:
    """Return `text` with every character replaced that is neither printable nor a tab or a line feed."""
    return "".join(each if each.isprintable() or each in "\n\t" else "�" for each in text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return `text` as one line, with line feeds replaced too."""
    return printable(text).replace("\n", "�")
