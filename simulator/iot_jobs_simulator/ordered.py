"""Entries kept in order of a key, so that a page of thousands is found without sorting or reading them all. Pure.

`Ordered` has them in chunks, so that to put an entry among a hundred thousand moves some hundreds of them at most; and
without the keys, which would be as many objects again, for Python's garbage collector to look at.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, TypeAlias, TypeVar

Key: TypeAlias = tuple[Any, ...]
Entry = TypeVar("Entry")

_CHUNK: Final = 1000


class Ordered(Generic[Entry]):
    """A sorted collection. No two entries have the same key, and a key must not change while its entry is in here."""

    __slots__ = ("_chunks", "_key")

    def __init__(self, key: Callable[[Entry], Key]) -> None:
        self._key = key
        self._chunks: list[list[Entry]] = [[]]  # only the last one can be empty, and only if it is the first too

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def __iter__(self) -> Iterator[Entry]:
        for chunk in self._chunks:
            yield from chunk

    def add(self, entry: Entry) -> None:
        """Put in at its place."""
        key = self._key(entry)
        at = self._chunk_of(key)
        chunk = self._chunks[at]
        if not chunk or self._key(chunk[-1]) < key:
            chunk.append(entry)
        else:
            chunk.insert(bisect_left(chunk, key, key=self._key), entry)
        if len(chunk) > _CHUNK:
            self._chunks.insert(at + 1, chunk[_CHUNK // 2 :])
            del chunk[_CHUNK // 2 :]

    def remove(self, entry: Entry) -> None:
        """Take out again; it must be there."""
        key = self._key(entry)
        at = self._chunk_of(key)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key, key=self._key)]
        if not chunk and len(self._chunks) > 1:
            del self._chunks[at]

    def first(self, count: int) -> list[Entry]:
        """The first entries, as many as there are up to the count."""
        if len(self._chunks[0]) >= count or len(self._chunks) == 1:
            return self._chunks[0][:count]
        return [entry for entry, _ in zip(self, range(count), strict=False)]

    @property
    def head(self) -> Entry | None:
        """The first entry, None if there is none."""
        return self._chunks[0][0] if self._chunks[0] else None

    def after(self, key: Key | None) -> Iterator[tuple[Key, Entry]]:
        """What comes behind a key, which need not be there; None is before all. TypeError if keys do not compare."""
        at, start = 0, 0
        if key is not None and self._chunks[0]:
            at = self._chunk_of(key)
            start = bisect_right(self._chunks[at], key, key=self._key)
        while at < len(self._chunks):
            for entry in self._chunks[at][start:]:
                yield self._key(entry), entry
            at, start = at + 1, 0

    def _chunk_of(self, key: Key) -> int:
        """Where an entry of that key is or belongs: the first chunk whose last entry is not before it, or the last."""
        last = len(self._chunks) - 1
        if last == 0 or not key < self._key(self._chunks[-1][0]):
            return last  # most things come at the end, in whatever order they are kept
        at = bisect_left(self._chunks, key, key=lambda chunk: self._key(chunk[-1]))
        return min(at, last)


def insert(entries: list[Entry], entry: Entry, key: Callable[[Entry], Any]) -> None:
    """Put an entry at its place in a plain list, which will do for thousands, and is one object, not three."""
    if not entries or key(entries[-1]) < key(entry):
        entries.append(entry)
    else:
        insort(entries, entry, key=key)


def take_out(entries: list[Entry], entry: Entry, key: Callable[[Entry], Any]) -> None:
    """Take an entry out of such a list again; it must be there."""
    del entries[bisect_left(entries, key(entry), key=key)]
