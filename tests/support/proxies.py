"""A real HTTP proxy (proxy.py, from PyPI) as a process of its own. `python proxies.py [USER:PASSWORD]` runs one."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

WAIT_S = 15


@contextlib.contextmanager
def running_proxy(credentials: str = "") -> Iterator[int]:
    """Run a proxy, which asks for USER:PASSWORD if `credentials` says so; the port."""
    command = [sys.executable, __file__, *([credentials] if credentials else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()
        process.wait(WAIT_S)


def main() -> None:
    import proxy  # noqa: PLC0415 - only the process of the proxy needs it

    options = ["--hostname", "127.0.0.1", "--port", "0", "--num-workers", "1", "--num-acceptors", "1"]
    options += ["--log-level", "CRITICAL"] + (["--basic-auth", sys.argv[1]] if sys.argv[1:] else [])
    with proxy.Proxy(options) as running:
        print(running.flags.port, flush=True)  # noqa: T201 - this is how the test learns of it
        sys.stdin.read()


if __name__ == "__main__":
    main()
