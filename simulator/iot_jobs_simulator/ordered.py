"""Entries kept in order of a key, so that a page of thousands is found without sorting or reading them all. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeAlias, TypeVar

Key: TypeAlias = tuple[Any, ...]
Entry = TypeVar("Entry")


class Ordered(Generic[Entry]):
    """A sorted collection. No two entries have the same key, and a key must not change while its entry is in here."""

    def __init__(self, key: Callable[[Entry], Key]) -> None:
        self._key = key
        self._keys: list[Key] = []
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def add(self, entry: Entry) -> None:
        """Put in at its place."""
        key = self._key(entry)
        at = bisect_left(self._keys, key)
        self._keys.insert(at, key)
        self._entries.insert(at, entry)

    def remove(self, entry: Entry) -> None:
        """Take out again; it must be there."""
        at = bisect_left(self._keys, self._key(entry))
        del self._keys[at]
        del self._entries[at]

    def first(self, count: int) -> list[Entry]:
        """The first entries, as many as there are up to the count."""
        return self._entries[:count]

    def after(self, key: Key | None) -> Iterator[tuple[Key, Entry]]:
        """What comes behind a key, which need not be there; None is before all. TypeError if keys do not compare."""
        start = 0 if key is None else bisect_right(self._keys, key)
        for at in range(start, len(self._entries)):
            yield self._keys[at], self._entries[at]
