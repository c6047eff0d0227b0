"""`iot-jobs-agent run`: the daemon itself."""

import asyncio
import gc
import importlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iot_jobs_agent import light, logs
from iot_jobs_agent.commands import options
from iot_jobs_agent.config.config import load
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.errors import ConfigError, JournalError, StateDirectoryError
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.systemd import Notifier
from iot_jobs_agent.verdict import Verdict

if TYPE_CHECKING:
    import argparse


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM, or with `--once` until nothing is pending. Return the exit status.

    0 after SIGTERM, or with `--once` if all executions succeeded; 1 if not; 69 if `--once` ended, by its time-out or by
    SIGTERM, before the service was ever reached. Also 1 if the journal failed, and 70 on a defect of ours: from both,
    the next start recovers.
    """
    config, once, limit_s = _chosen(arguments)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever ignores it leaves that to us, and we wait for our children
    verdict = Verdict(meanwhile=lambda: importlib.import_module("iot_jobs_agent.daemon"))
    settings = load(config, validated=verdict.validated)
    logs.configure(settings.agent.log_level, settings.agent.log_format)
    if os.geteuid() == 0:
        logs.get_logger().warning("running as root, and so does every handler", hint="see docs/install.md for a user")
    state_directory.prepare(settings.agent.state_directory)
    lock = state_directory.lock(settings.agent.state_directory)
    verdict.keep()
    try:
        return asyncio.run(_serve(settings, once=once, limit_s=limit_s))
    except JournalError as error:
        logs.get_logger().error("the journal failed, ending so that the next start recovers", why=str(error))
        return 1
    except (ConfigError, StateDirectoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a defect of ours ends here, whichever task it is in
        logs.get_logger().error("internal error, ending so that the next start recovers", exc_info=error)
        return os.EX_SOFTWARE
    finally:
        state_directory.unlock(lock)


def parser() -> "argparse.ArgumentParser":
    """Return the parser of the command line."""
    made = options.parser("run")
    options.add_config(made)
    made.add_argument("--once", action="store_true", help="handle what is pending, then exit: 0 all succeeded, 1 not")
    options.add_timeout(made, "with --once: give up after so many seconds: 69 the service was never reached, else 1")
    return made


def _chosen(arguments: Sequence[str]) -> tuple[Path, bool, float | None]:
    """Return the configuration, whether to serve only what is pending, and for how many seconds at most."""
    if (config := options.only_config(arguments)) is not None:
        return config, False, None
    chosen = parser().parse_args(arguments)
    if chosen.timeout is not None and not chosen.once:
        parser().error("--timeout says how long to handle what is pending: add --once")
    return chosen.config, chosen.once, chosen.timeout


async def _serve(settings: Config, *, once: bool, limit_s: float | None) -> int:
    from iot_jobs_agent.daemon import Daemon  # noqa: PLC0415 - after the configuration, which may be checked beside it

    light.let_in()
    daemon = Daemon(settings, Notifier.from_environ())
    gc.freeze()  # the imported modules stay alive anyway, so keep the collector from scanning them again and again
    await daemon.run(once=once, limit_s=limit_s)
    return daemon.exit_status_of_once() if once else 0
