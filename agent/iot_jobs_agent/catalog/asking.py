"""Runs a program that may be hostile and returns its output: time and size are limited, and its process group ends."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

LARGEST_BYTES = 256 * 1024
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "JOB_PROTOCOL": "1",
}


async def ask(argv: Sequence[str], timeout_s: float) -> tuple[int, bytes, str]:
    """Run `argv`; return its exit code, its standard output, and what went wrong ("" if nothing did).

    Afterwards, whatever is left of its process group is killed. We use our own pipe rather than asyncio's, because
    with that, waiting for the process also waits for every other process that still has its output open.
    """
    read_fd, write_fd = os.pipe()
    reader = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", 0)
    )
    try:
        process = await _start(argv, write_fd)
    except OSError as error:
        pipe.close()
        return -1, b"", f"cannot be started ({(error.strerror or 'unknown reason').lower()})"
    finally:
        os.close(write_fd)
    output = b""
    problem = ""
    try:
        async with asyncio.timeout(timeout_s):
            output = await _read(reader)
            await process.wait()
    except TimeoutError:
        problem = f"did not end within {timeout_s:g} s"
    except ValueError:
        problem = f"said more than {LARGEST_BYTES} bytes"
    finally:
        pipe.close()
        has_rest = _kill_group(process.pid)
        code = await process.wait()
    if has_rest:
        await asyncio.to_thread(_reap_group, process.pid)
    return code, output, problem


async def _start(argv: Sequence[str], write_fd: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=write_fd,
        stderr=asyncio.subprocess.DEVNULL,
        env=_ENVIRONMENT,
        cwd="/",
        process_group=0,  # not its own session, by which the agent recognises orphans (`attempts.orphans`)
    )


async def _read(reader: asyncio.StreamReader) -> bytes:
    output = b""
    while chunk := await reader.read(65536):
        output += chunk
        if len(output) > LARGEST_BYTES:
            raise ValueError
    return output


def _kill_group(group: int) -> bool:
    """Kill every process of the group. Return False if there is none, or none that we may kill."""
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        return False
    return True


def _reap_group(group: int) -> None:
    """Reap the processes of the group that became our children (the agent adopts orphans). Blocks until they die."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)
