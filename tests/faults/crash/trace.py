"""What a program did to its files, system call by system call, as strace saw it: the log that power is cut in.

Writes through mmap are not seen; the only such file, SQLite's -shm, is made again by whoever opens the journal first.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

CALLS = (
    "open,openat,creat,write,writev,pwrite64,pwritev,truncate,ftruncate,fallocate,fsync,fdatasync,rename,renameat,"
    "renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,mknod,mknodat,link,linkat,symlink,symlinkat,lseek,chdir,execve,"
    "copy_file_range,sendfile"
)
LINE = re.compile(r"(\d+) +(.*)")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(.*)")
DESCRIPTOR = re.compile(r"(?:-?\d+|AT_FDCWD)<((?:\\x..)*)>(?!\(deleted\))")
STRING = re.compile(r'"((?:\\x..)*)"')
MARKS = "marks"  # a file beside the disk: what is written to it is not an operation, but said to us
AT_END = -1

Kind = Literal["create", "truncate", "write", "sync", "rename", "remove", "mark"]


@dataclass(slots=True)
class Operation:
    """One thing done to the disk; paths are relative to its root, and those outside of it are left out.

    `what` is "file", "directory" or "fifo" for a creation. `offset` is of a write, or the length after a truncation.
    `under_way` are operations that had begun, but not ended, when a sync began: it says nothing of them.
    """

    kind: Kind
    path: str = ""
    to: str = ""
    what: str = ""
    offset: int = 0
    data: bytes = b""
    mark: dict[str, Any] = field(default_factory=dict)
    began: int = 0
    under_way: frozenset[int] = frozenset()
    is_void: bool = False

    def __str__(self) -> str:
        extra = {"write": f"{len(self.data)} bytes at {self.offset}", "rename": f"to {self.to}"}.get(self.kind, "")
        return " ".join(filter(None, [self.kind, self.what, self.path, extra, str(self.mark or "")]))


def record(command: Sequence[str], root: Path, log: Path) -> list[Operation]:
    """Run `command`, which works below `root`, and return what it did. Its marks go to the file `MARKS` beside root."""
    if shutil.which("strace") is None:
        raise SystemExit("the crash explorer needs strace: apt-get install strace")
    strace = ["strace", "-f", "--seccomp-bpf", "-q", "-e", "signal=none", "-y", "-xx"]
    done = subprocess.run(
        [*strace, "-s", "4194304", "-e", f"trace={CALLS}", "-o", str(log), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: status {done.returncode}\n{done.stderr}")
    with log.open() as lines:
        return parsed(lines, root)


def parsed(lines: Iterable[str], root: Path) -> list[Operation]:
    """Return the operations of a strace log."""
    reader = _Reader(str(root), str(root.with_name(MARKS)))
    waiting: dict[str, tuple[str, list[int]]] = {}  # by thread: the first half of a call, and its operations
    for line in lines:
        match = LINE.fullmatch(line.rstrip())
        if match is None:
            raise ValueError(f"not a line of strace's: {line!r}")
        thread, text = match.groups()
        if resumed := RESUMED.fullmatch(text):
            first, indices = waiting.pop(thread)
            reader.busy.difference_update(indices)
            reader.end(thread, first + resumed[1], indices)
        elif text.endswith("<unfinished ...>"):
            first = text.removesuffix("<unfinished ...>").rstrip()
            indices = reader.begin(thread, first)
            reader.busy.update(indices)
            waiting[thread] = first, indices
        elif text.startswith("+++"):
            waiting.pop(thread, None)
            reader.exited(thread, text)
        else:
            reader.end(thread, text, reader.begin(thread, text))
    return reader.operations


class _Reader:
    """Makes operations of calls: when a call begins, since from then on it may be on the disk."""

    def __init__(self, root: str, marks: str) -> None:
        self.root = root
        self.marks = marks
        self.operations: list[Operation] = []
        self.busy: set[int] = set()
        self.directories: dict[str, str] = {}
        self.positions: dict[str, int] = {}
        self.shims: dict[str, str] = {}

    def begin(self, thread: str, text: str) -> list[int]:
        """Add what the call, of which the result may still be missing, does; return the new indices."""
        name, _, arguments = text.partition("(")
        first = len(self.operations)
        for operation in self._made(thread, name, arguments):
            operation.began = len(self.operations)
            operation.under_way = frozenset(self.busy) if operation.kind == "sync" else frozenset()
            self.operations.append(operation)
        return list(range(first, len(self.operations)))

    def end(self, thread: str, text: str, indices: list[int]) -> None:
        """Take the call's result into account."""
        match = CALL.match(text)
        if match is None:
            if text.endswith(("= ?", "= ? <unavailable>")):  # the process was killed in it
                return
            raise ValueError(f"not a call: {text[:200]}")
        name, arguments, result = match[1], match[2], int(match[3])
        for index in indices:
            self._finish(index, name, result)
        if result < 0:
            return
        if name == "chdir":
            self.directories[thread] = self._absolute(thread, _strings(arguments)[0])
        elif name in {"open", "openat", "creat"}:
            path = _descriptors(match[4] and match[3] + match[4])[-1]
            self.positions[path] = AT_END if "O_APPEND" in arguments else 0
        elif name == "lseek":
            self.positions[_descriptors(arguments)[0]] = result

    def exited(self, thread: str, text: str) -> None:
        """Note that a shim says it has kept a result."""
        if thread in self.shims and text == "+++ exited with 0 +++":
            self.operations.append(Operation("mark", mark={"kept": self.shims[thread]}))

    def _finish(self, index: int, name: str, result: int) -> None:
        operation = self.operations[index]
        if result < 0:
            operation.is_void = True
        elif operation.kind == "write":
            operation.data = operation.data[:result]
            path = f"{self.root}/{operation.path}"
            if name == "write" and self.positions.get(path, 0) != AT_END:
                self.positions[path] = operation.offset + result
        elif operation.kind == "sync":  # it counts from its end on
            operation.is_void = True
            ended = Operation("sync", operation.path, began=operation.began, under_way=operation.under_way)
            self.operations.append(ended)

    def _made(self, thread: str, name: str, arguments: str) -> Iterator[Operation]:
        if name in {"write", "pwrite64"}:
            yield from self._written(name, arguments)
        elif name in {"fsync", "fdatasync"}:
            yield from self._inside("sync", _descriptors(arguments)[0])
        elif name in {"ftruncate", "truncate"}:
            path = _descriptors(arguments)[0] if name == "ftruncate" else self._path(thread, arguments)
            length = int(arguments.rstrip(")").split(", ")[1].split(")")[0])
            yield from self._inside("truncate", path, offset=length)
        elif name == "execve":
            yield from self._executed(thread, arguments)
        elif name in {"writev", "pwritev", "fallocate", "copy_file_range", "sendfile", "link", "linkat", "symlink"}:
            for path in _descriptors(arguments):
                if self._relative(path):
                    raise RuntimeError(f"the model of a disk does not know {name}: {path}")
        else:
            yield from self._named(thread, name, arguments)

    def _named(self, thread: str, name: str, arguments: str) -> Iterator[Operation]:
        if name in {"open", "openat", "creat"}:
            path = self._path(thread, arguments)
            if "O_CREAT" in arguments:
                yield from self._inside("create", path, what="file")
            if "O_TRUNC" in arguments:
                yield from self._inside("truncate", path)
        elif name in {"mkdir", "mkdirat"}:
            yield from self._inside("create", self._path(thread, arguments), what="directory")
        elif name in {"mknod", "mknodat"}:
            yield from self._inside("create", self._path(thread, arguments), what="fifo")
        elif name in {"unlink", "unlinkat", "rmdir"}:
            yield from self._inside("remove", self._path(thread, arguments))
        elif name in {"rename", "renameat", "renameat2"}:
            old, new = self._paths(thread, arguments)
            relative = self._relative(new)
            for operation in self._inside("rename", old):
                operation.to = relative
                yield operation

    def _written(self, name: str, arguments: str) -> Iterator[Operation]:
        path = _descriptors(arguments)[0]
        data = _bytes(STRING.findall(arguments)[0])
        if path == self.marks:
            yield Operation("mark", mark=json.loads(data))
            return
        offset = self.positions.get(path, 0)
        if name == "pwrite64":
            offset = int(re.split(r"\)", arguments.rsplit(", ", 1)[1])[0])
        yield from self._inside("write", path, offset=offset, data=data)

    def _executed(self, thread: str, arguments: str) -> Iterator[Operation]:
        """A handler is known by an argument `handler:ATTEMPT`, a shim by its module."""
        words = _strings(arguments.partition("]")[0])
        if any("iot_jobs_agent.shim.supervisor" in word for word in words):
            self.shims[thread] = Path(words[-1]).name
        for word in words:
            if word.startswith("handler:"):
                yield Operation("mark", mark={"started": word.removeprefix("handler:")})

    def _inside(self, kind: Kind, path: str, **members: Any) -> Iterator[Operation]:
        relative = self._relative(path)
        if relative is not None and not (kind in {"write", "truncate", "sync"} and path.endswith("-shm")):
            yield Operation(kind, relative, **members)

    def _relative(self, path: str) -> Any:
        if path == self.root:
            return ""
        return path.removeprefix(self.root + "/") if path.startswith(self.root + "/") else None

    def _path(self, thread: str, arguments: str) -> str:
        return self._paths(thread, arguments)[0]

    def _paths(self, thread: str, arguments: str) -> list[str]:
        """Return the paths among the arguments, each with the directory that stands before it."""
        paths = []
        base = ""
        for argument in arguments.split(", "):
            if found := DESCRIPTOR.match(argument):
                base = _text(found[1])
            elif found := STRING.match(argument):
                path = _text(found[1])
                paths.append(path if path.startswith("/") else self._absolute(thread, path, base))
                base = ""
        return paths

    def _absolute(self, thread: str, path: str, base: str = "") -> str:
        if path.startswith("/"):
            return path
        base = base or self.directories.get(thread, "")
        if not base:
            raise ValueError(f"the directory of thread {thread} is not known: {path}")
        return f"{base}/{path}"


def _descriptors(arguments: str) -> list[str]:
    return [_text(found) for found in DESCRIPTOR.findall(arguments)] or [""]


def _strings(arguments: str) -> list[str]:
    return [_text(found) for found in STRING.findall(arguments)]


def _text(escaped: str) -> str:
    return _bytes(escaped).decode(errors="replace")


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
