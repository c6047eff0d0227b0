"""What a disk may hold after a power cut, by the weakest reading of POSIX.

Until a file is fsynced, each write and truncation since may have reached the disk or not, in any order, and a write may
have reached it in part, or as nothing but the length. Until a directory is fsynced, each name made, replaced or removed
in it may have become so or not; fsyncing the file does not help. A rename within a directory happens whole or not at
all; one between directories is two changes. A write changes no byte beside its own.
"""

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tests.faults.crash.trace import AT_END, Operation

SECTOR_BYTES = 512
ROOT = 0
FEW = 3
DIRECTORY, FIFO = "directory", "fifo"

Content: TypeAlias = bytes | str  # of a file, or DIRECTORY, FIFO
Tree: TypeAlias = dict[str, Content]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is not yet sure to be on the disk: of a file's content, or of one or two names in a directory."""

    inode: int
    made_at: int  # the operation's index
    offset: int = 0
    data: bytes = b""
    size: int | None = None  # a truncation
    names: tuple[tuple[str, int | None], ...] = ()  # each with its new inode, or None


@dataclass(frozen=True, slots=True)
class Cut:
    """What of a write reached the disk: its first bytes, its last ones, or the length it gave the file."""

    kind: str  # "head", "tail", "length"
    at: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of some pending changes reached the disk, by their place among them; the one at `torn` only in part."""

    label: str
    chosen: tuple[int, ...]
    torn: int | None = None
    cut: Cut = Cut("head")


class Disk:
    """A file system as programs see it, and what of it is sure to be there after a power cut."""

    def __init__(self) -> None:
        self.kinds = {ROOT: DIRECTORY}
        self.names: dict[int, dict[str, int]] = {ROOT: {}}
        self.files: dict[int, bytearray] = {}
        self.sure_names: dict[int, dict[str, int]] = {ROOT: {}}
        self.sure_files: dict[int, bytes] = {}
        self.pending: list[Change] = []
        self.version = 0  # while it stays the same, nothing was made sure, and `pending` only grew

    def apply(self, index: int, operation: Operation) -> bool:
        """Do it; False if nothing came of it."""
        if operation.is_void:
            return False
        match operation.kind:
            case "create":
                return self._create(index, operation)
            case "write":
                self._write(index, operation)
            case "truncate":
                return self._truncate(index, operation)
            case "rename":
                self._rename(index, operation)
            case "remove":
                directory, name = self._place(operation.path)
                del self.names[directory][name]
                self.pending.append(Change(directory, index, names=((name, None),)))
            case "sync":
                self._sync(operation)
            case "mark":
                pass
        return True

    def settle(self) -> None:
        """Take everything for sure."""
        for change in self.pending:
            self._make_sure(change)
        self.pending = []
        self.version += 1

    def tree(self) -> Tree:
        """Return what programs see."""
        return _tree(self.kinds, self.names, {inode: bytes(data) for inode, data in self.files.items()})

    def _create(self, index: int, operation: Operation) -> bool:
        directory, name = self._place(operation.path)
        if name in self.names[directory]:
            return False
        inode = len(self.kinds)
        self.kinds[inode] = operation.what
        if operation.what == DIRECTORY:
            self.names[inode], self.sure_names[inode] = {}, {}
        elif operation.what == "file":
            self.files[inode], self.sure_files[inode] = bytearray(), b""
        self.names[directory][name] = inode
        self.pending.append(Change(directory, index, names=((name, inode),)))
        return True

    def _write(self, index: int, operation: Operation) -> None:
        inode = self._inode(operation.path)
        if self.kinds[inode] != "file":
            return
        data = self.files[inode]
        offset = len(data) if operation.offset == AT_END else operation.offset
        self.files[inode] = bytearray(_written(bytes(data), offset, operation.data))
        self.pending.append(Change(inode, index, offset, operation.data))

    def _truncate(self, index: int, operation: Operation) -> bool:
        inode = self._inode(operation.path)
        if len(self.files[inode]) == operation.offset:
            return False
        self.files[inode] = bytearray(_resized(bytes(self.files[inode]), operation.offset))
        self.pending.append(Change(inode, index, size=operation.offset))
        return True

    def _rename(self, index: int, operation: Operation) -> None:
        old_directory, old = self._place(operation.path)
        new_directory, new = self._place(operation.to)
        inode = self.names[old_directory].pop(old)
        self.names[new_directory][new] = inode
        if old_directory == new_directory:
            self.pending.append(Change(new_directory, index, names=((new, inode), (old, None))))
        else:
            self.pending.append(Change(new_directory, index, names=((new, inode),)))
            self.pending.append(Change(old_directory, index, names=((old, None),)))

    def _sync(self, operation: Operation) -> None:
        inode = self._inode(operation.path)
        self.version += 1
        left = []
        for change in self.pending:
            is_covered = change.made_at < operation.began and change.made_at not in operation.under_way
            if change.inode == inode and is_covered:
                self._make_sure(change)
            else:
                left.append(change)
        self.pending = left
        reachable = self._reachable()
        self.pending = [change for change in left if change.inode in reachable]

    def _make_sure(self, change: Change) -> None:
        if change.names:
            _rename_in(self.sure_names[change.inode], change)
        else:
            self.sure_files[change.inode] = _changed(self.sure_files[change.inode], change)

    def _reachable(self) -> set[int]:
        """Return what a name may lead to, now or after a power cut: the rest is gone for good."""
        found = {ROOT}
        for names in (*self.names.values(), *self.sure_names.values()):
            found.update(names.values())
        return found | {inode for change in self.pending for _, inode in change.names if inode is not None}

    def _inode(self, path: str) -> int:
        inode = ROOT
        for name in filter(None, path.split("/")):
            inode = self.names[inode][name]
        return inode

    def _place(self, path: str) -> tuple[int, str]:
        parent, _, name = path.rpartition("/")
        return self._inode(parent), name


class PowerCut:
    """The states a disk may be in if power is cut now. Choices are among `names` and `data`, its pending changes."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.version = disk.version
        self.names = [change for change in disk.pending if change.names]
        self.data = [change for change in disk.pending if not change.names]
        self._contents: dict[tuple[object, ...], tuple[bytes, bytes]] = {}

    def tree(self, names: Choice, data: Choice) -> tuple[Tree, bytes]:
        """Return the state, and a digest of it."""
        entries = dict(self._disk.sure_names)
        for place in names.chosen:
            change = self.names[place]
            entries[change.inode] = entries[change.inode].copy()
            _rename_in(entries[change.inode], change)
        by_inode: dict[int, list[int]] = {}
        for place in data.chosen:
            by_inode.setdefault(self.data[place].inode, []).append(place)
        torn = self.data[data.torn].inode if data.torn is not None else None
        tree: Tree = {}
        digest = hashlib.blake2b(digest_size=12)
        for path, inode in _walked(self._disk.kinds, entries):
            kind = self._disk.kinds[inode]
            if kind == "file":
                tree[path], of_content = self._content(inode, by_inode.get(inode, []), data if torn == inode else None)
            else:
                tree[path], of_content = kind, kind.encode()
            digest.update(path.encode() + b"\0" + of_content)
        return tree, digest.digest()

    def _content(self, inode: int, places: Sequence[int], torn: Choice | None) -> tuple[bytes, bytes]:
        key = (inode, *places, torn and (torn.torn, torn.cut))
        known = self._contents.get(key)
        if known is None:
            content = self._disk.sure_files[inode]
            for place in places:
                change = self.data[place]
                content = _changed(content, _torn(change, torn.cut, content) if torn and place == torn.torn else change)
            known = self._contents[key] = content, hashlib.blake2b(content, digest_size=12).digest()
        return known

    def choices(self) -> Iterator[tuple[Choice, Choice]]:
        """Every choice of names with all or none of the data, and every choice of data with all or none of the names.

        Each pair once.
        """
        names, data = list(choices(self.names)), list(choices(self.data))
        ends = {"all", "none"}
        yield from ((n, d) for n in names for d in data if n.label in ends or d.label in ends)

    def all_choices(self) -> Iterator[tuple[Choice, Choice]]:
        """Every choice of names with every choice of data."""
        return itertools.product(list(choices(self.names)), list(choices(self.data)))

    def random_choices(self, dice: random.Random, count: int) -> Iterator[tuple[Choice, Choice]]:
        """Any of the names with any of the data, the last write torn or not."""
        if len(self.names) + len(self.data) < FEW:  # the others are all there is
            return
        for _ in range(count):
            seed = dice.getrandbits(32)
            yield self.choice(*(f"dice-{seed}" if changes else "none" for changes in (self.names, self.data)))

    def choice(self, names_label: str, data_label: str) -> tuple[Choice, Choice]:
        """Return what has these labels."""
        return _labelled(self.names, names_label), _labelled(self.data, data_label)


def choices(changes: Sequence[Change]) -> Iterator[Choice]:
    """None, all, each alone, all but one, every prefix, every prefix with its last write torn, by file alone."""
    seen = set()
    for choice in _whole(changes):
        if choice.chosen not in seen:
            seen.add(choice.chosen)
            yield choice
    for last, change in enumerate(changes):
        for cut in _cuts(change):
            yield Choice(f"first-{last + 1}-{cut.kind}-{cut.at}", tuple(range(last + 1)), last, cut)


def _labelled(changes: Sequence[Change], label: str) -> Choice:
    if not label.startswith("dice-"):
        return next(choice for choice in choices(changes) if choice.label == label)
    dice = random.Random(label + str(len(changes)))
    chosen = tuple(place for place in range(len(changes)) if dice.random() < dice.choice((0.5, 0.9)))
    cuts = list(_cuts(changes[chosen[-1]])) if chosen else []
    if cuts and dice.random() < 0.5:
        return Choice(label, chosen, chosen[-1], dice.choice(cuts))
    return Choice(label, chosen)


def _whole(changes: Sequence[Change]) -> Iterator[Choice]:
    everything = tuple(range(len(changes)))
    yield Choice("none", ())
    yield Choice("all", everything)
    for count in everything:
        yield Choice(f"first-{count}", everything[:count])
    for one in everything:
        yield Choice(f"only-{one}", (one,))
        yield Choice(f"but-{one}", (*everything[:one], *everything[one + 1 :]))
    for inode in dict.fromkeys(change.inode for change in changes):
        mine = tuple(place for place in everything if changes[place].inode == inode)
        yield Choice(f"of-{inode}", mine)
        yield Choice(f"without-{inode}", tuple(place for place in everything if place not in mine))


def _cuts(change: Change) -> Iterator[Cut]:
    """Cut a write at every sector boundary of the file, and in its middle."""
    length = len(change.data)
    if length == 0:
        return
    first = SECTOR_BYTES - change.offset % SECTOR_BYTES
    for at in sorted({*range(first, length, SECTOR_BYTES), length // 2} - {0}):
        yield Cut("head", at)
    if length > 1:
        yield Cut("tail", length // 2)
    yield Cut("length")


def _torn(change: Change, cut: Cut, content: bytes) -> Change:
    """Return what of a write reached the disk; where the file grew, but nothing was written, there are zeros."""
    match cut.kind:
        case "head":
            return Change(change.inode, change.made_at, change.offset, change.data[: cut.at])
        case "tail":
            return Change(change.inode, change.made_at, change.offset + cut.at, change.data[cut.at :])
        case _:
            return Change(change.inode, change.made_at, size=max(len(content), change.offset + len(change.data)))


def _changed(content: bytes, change: Change) -> bytes:
    if change.size is not None:
        return _resized(content, change.size)
    return _written(content, change.offset, change.data)


def _written(content: bytes, offset: int, data: bytes) -> bytes:
    if offset == len(content):
        return content + data
    content = content if offset <= len(content) else _resized(content, offset)
    return content[:offset] + data + content[offset + len(data) :]


def _resized(content: bytes, size: int) -> bytes:
    return content[:size] + bytes(max(0, size - len(content)))


def _rename_in(names: dict[str, int], change: Change) -> None:
    for name, inode in change.names:
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


def _walked(kinds: dict[int, str], names: dict[int, dict[str, int]]) -> Iterator[tuple[str, int]]:
    """Return every path with its inode, in one order, directories before what is in them."""
    waiting = [("", ROOT)]
    while waiting:
        path, inode = waiting.pop()
        for name, below in sorted(names[inode].items()):
            inside = f"{path}/{name}" if path else name
            yield inside, below
            if kinds[below] == DIRECTORY:
                waiting.append((inside, below))


def _tree(kinds: dict[int, str], names: dict[int, dict[str, int]], files: dict[int, bytes]) -> Tree:
    return {path: files[i] if kinds[i] == "file" else kinds[i] for path, i in _walked(kinds, names)}
