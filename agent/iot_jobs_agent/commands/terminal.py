"""Makes text fit for a terminal: safe, since it may contain escape sequences, and no wider than the terminal.

What handlers, operators and the service write may contain anything. Where the output is not a terminal, nothing is
wrapped, so that programs find one fact on one line.
"""

import sys
import textwrap
import threading
from collections.abc import Sequence

GAP = 2
INDENT = 4
LEAST_WIDTH = 20  # below this, wrapping would make a text harder to read
LEAST_LAST = 24  # the last column gets this much of a line, or lines of its own


def printable(text: str) -> str:
    """Return `text` with every character replaced that is neither printable nor a tab or a line feed."""
    return "".join(each if each.isprintable() or each in "\n\t" else "�" for each in text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return `text` as one line, with line feeds replaced too."""
    return printable(text).replace("\n", "�")


def width() -> int | None:
    """Return how many characters fit on a line of the terminal, or None if stdout is not a terminal."""
    if not sys.stdout.isatty():
        return None
    import shutil  # noqa: PLC0415 - brings what it needs for archives

    return max(LEAST_WIDTH, shutil.get_terminal_size().columns)


def wrapped(text: str, columns: int | None, indent: int) -> str:
    """Return a line as one that is wrapped between words, with `indent` blanks at the start of each further line."""
    if columns is None or len(text) <= columns:
        return text
    indent = min(indent, columns // 2)
    lines = textwrap.wrap(
        text,
        columns,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )
    return "\n".join(lines)


def table(rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Return rows of as many cells as text, one string with one or more lines for each row.

    Columns that do not fit continue on further lines, indented. The last one is wrapped between words.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    groups = _groups(widths, columns)
    return ["\n".join(_lines(row, widths, groups, columns)) for row in cells]


def wait(seconds: float) -> None:
    """Wait before looking again at what another process writes. Ctrl-C raises KeyboardInterrupt."""
    threading.Event().wait(seconds)


def duration_in_words(seconds: float) -> str:
    """Return a duration with its two largest units: `12 s`, `3 min 20 s`, `2 h 5 min`, `40 d 3 h`."""
    left = max(0, int(seconds))
    parts = []
    for unit, size_s in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size_s)
        parts.append((count, unit))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or first == len(parts) - 1)


def _groups(widths: Sequence[int], columns: int | None) -> list[list[int]]:
    """Return which columns share a line."""
    groups: list[list[int]] = [[]]
    used = 0
    for index, wide in enumerate(widths):
        needed = min(wide, LEAST_LAST) if index == len(widths) - 1 else wide
        if columns is not None and groups[-1] and used + needed > columns:
            groups.append([])
            used = INDENT
        groups[-1].append(index)
        used += wide + GAP
    return groups


def _lines(
    row: Sequence[str], widths: Sequence[int], groups: Sequence[Sequence[int]], columns: int | None
) -> list[str]:
    lines = []
    for number, group in enumerate(groups):
        start = " " * (INDENT if number else 0)
        ahead = (" " * GAP).join(row[index].ljust(widths[index]) for index in group[:-1])
        start += f"{ahead}{' ' * GAP if ahead else ''}"
        if row[group[-1]] or start.strip():
            lines.append(wrapped(f"{start}{row[group[-1]]}".rstrip(), columns, len(start)))
    return lines
