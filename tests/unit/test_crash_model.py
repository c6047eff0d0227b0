"""The crash explorer's idea of a disk: tiny logs, and the states they may leave."""

from pathlib import Path

from tests.faults.crash.model import DIRECTORY, Disk, PowerCut, Tree
from tests.faults.crash.trace import Operation, parsed


def log(*operations: Operation) -> list[Operation]:
    for index, operation in enumerate(operations):
        operation.began = index
    return list(operations)


def made(path: str, data: bytes = b"") -> list[Operation]:
    return [Operation("create", path, what="file"), Operation("write", path, data=data)]


def states(*operations: Operation, settled: int = 0) -> list[Tree]:
    """Return the different states after a power cut at the end; the first `settled` operations are sure."""
    disk = Disk()
    for index, operation in enumerate(log(*operations)):
        if index == settled:
            disk.settle()
        disk.apply(index, operation)
    cut = PowerCut(disk)
    return list({digest: tree for tree, digest in (cut.tree(n, d) for n, d in cut.all_choices())}.values())


def contents(found: list[Tree], path: str) -> set[object]:
    return {tree.get(path) for tree in found}


def test_nothing_of_a_new_file_is_sure() -> None:
    assert contents(states(*made("f", b"ab")), "f") == {None, b"", b"a", b"ab", b"\0b", b"\0\0"}


def test_a_synced_file_may_be_without_its_name() -> None:
    assert contents(states(*made("f", b"ab"), Operation("sync", "f")), "f") == {None, b"ab"}


def test_a_synced_directory_may_hold_an_empty_file() -> None:
    assert None not in contents(states(*made("f", b"ab"), Operation("sync", "")), "f")


def test_a_file_and_its_directory_synced_leave_one_state() -> None:
    assert states(*made("f", b"ab"), Operation("sync", "f"), Operation("sync", "")) == [{"f": b"ab"}]


def test_a_rename_without_fsync_yields_old_new_torn_and_empty() -> None:
    found = states(*made("f", b"old"), *made("n", b"new"), Operation("rename", "n", to="f"), settled=2)
    assert contents(found, "f") >= {b"old", b"new", b"", b"n"}


def test_a_rename_after_an_fsync_yields_old_or_new() -> None:
    operations = [*made("f", b"old"), *made("n", b"new"), Operation("sync", "n"), Operation("rename", "n", to="f")]
    assert contents(states(*operations, settled=2), "f") == {b"old", b"new"}
    assert contents(states(*operations, Operation("sync", ""), settled=2), "f") == {b"new"}


def test_a_removed_file_may_come_back() -> None:
    operations = [*made("f", b"old"), Operation("remove", "f")]
    assert contents(states(*operations, settled=2), "f") == {None, b"old"}
    assert contents(states(*operations, Operation("sync", ""), settled=2), "f") == {None}


def test_a_later_write_may_be_there_without_the_earlier_one() -> None:
    writes = [Operation("write", "f", offset=0, data=b"a"), Operation("write", "f", offset=1, data=b"b")]
    assert b"\0b" in contents(states(*made("f"), *writes, settled=2), "f")


def test_a_large_write_is_torn_at_each_sector() -> None:
    found = states(*made("f"), Operation("write", "f", offset=100, data=b"x" * 1200), settled=2)
    lengths = {len(tree["f"].rstrip(b"\0")) for tree in found if isinstance(tree["f"], bytes)}
    assert lengths == {0, 512, 700, 1024, 1300}


def test_what_is_in_a_directory_goes_with_it() -> None:
    inside = [Operation("create", "d", what=DIRECTORY), *made("d/f", b"x"), Operation("sync", "d/f")]
    assert {} in states(*inside, Operation("sync", "d"))
    assert states(*inside, Operation("sync", "d"), Operation("sync", "")) == [{"d": DIRECTORY, "d/f": b"x"}]


def test_a_write_under_way_is_not_covered_by_a_sync() -> None:
    write, sync = Operation("write", "f", data=b"x"), Operation("sync", "f", under_way=frozenset({2}))
    assert contents(states(*made("f"), write, sync, settled=2), "f") == {b"", b"\0", b"x"}


def test_calls_become_operations(tmp_path: Path) -> None:
    def text(word: str) -> str:
        return "".join(f"\\x{byte:02x}" for byte in word.encode())

    root = tmp_path / "disk"
    path = text(f"{root}/f")
    lines = [
        f'7 openat(AT_FDCWD<{text("/")}>, "{path}", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3<{path}>',
        f'7 write(3<{path}>, "{text("abc")}", 3 <unfinished ...>',
        f"8 fsync(4<{path}>) = 0",
        "7 <... write resumed>) = 2",
        f'7 unlink("{text("/elsewhere")}") = 0',
        f'7 mkdir("{path}", 0700) = -1 EEXIST (File exists)',
        "7 +++ exited with 0 +++",
    ]
    kinds = [(each.kind, each.data, each.under_way) for each in parsed(lines, root) if not each.is_void]
    none: frozenset[int] = frozenset()
    assert kinds == [
        ("create", b"", none),
        ("truncate", b"", none),
        ("write", b"ab", none),
        ("sync", b"", frozenset({2})),
    ]
