"""Runs a program that may be hostile and returns its output: time and size are limited, and its process group ends."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from iot_jobs_agent.installation import ROOT
from iot_jobs_agent.shim.ask import SWEEP_S, TIMED_OUT

LARGEST_BYTES = 256 * 1024
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "JOB_PROTOCOL": "1",
}
_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from iot_jobs_agent.shim.{} import main; main(int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])"
)
_START_S = 30.0  # for a Python to start on the smallest of boards


async def ask(argv: Sequence[str], timeout_s: float, *, in_unit: bool = False) -> tuple[int, bytes, str]:
    """Run `argv`; return its exit code, its standard output, and what went wrong ("" if nothing did).

    With `in_unit`, it runs in a unit and as a user of its own. Afterwards none of its processes is left. We use our own
    pipe rather than asyncio's, because with that, waiting for the process also waits for every other process that still
    has its output open.
    """
    read_fd, write_fd = os.pipe()
    report_fd, their_report_fd = os.pipe()
    reader = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", 0)
    )
    try:
        process = await _start(argv, write_fd, their_report_fd, timeout_s, in_unit=in_unit)
    except OSError as error:
        pipe.close()
        os.close(report_fd)
        return -1, b"", f"cannot be started ({_words(error.errno)})"
    finally:
        os.close(write_fd)
        os.close(their_report_fd)
    problem = ""
    output = b""
    try:
        async with asyncio.timeout(timeout_s + _START_S):
            output = await _read(reader)
            await process.wait()
    except TimeoutError:
        problem = f"did not end within {timeout_s:g} s"
    except ValueError:
        problem = f"said more than {LARGEST_BYTES} bytes"
    finally:
        pipe.close()
        code = await _end(process)
        with os.fdopen(report_fd, "rb") as file:
            report = file.read(4096)
    if report == TIMED_OUT:
        return -1, output, problem or f"did not end within {timeout_s:g} s"
    return (-1, b"", f"cannot be started ({_why(report)})") if report else (code, output, problem)


async def _start(
    argv: Sequence[str], write_fd: int, report_fd: int, timeout_s: float, *, in_unit: bool
) -> asyncio.subprocess.Process:
    boot = _BOOT.format("ask_in_unit" if in_unit else "ask")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", boot, str(ROOT), str(report_fd), str(timeout_s), *argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=write_fd,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(report_fd,),
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


async def _end(process: asyncio.subprocess.Process) -> int:
    """Let it sweep what it has started, and see that it ends itself."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(2 * SWEEP_S):
            return await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        return await process.wait()


def _why(report: bytes) -> str:
    """Return the words of a report: an errno, or words already."""
    return _words(int(report)) if report.isdigit() else report.decode(errors="replace")


def _words(number: int | None) -> str:
    return os.strerror(number).lower() if number else "unknown reason"
