"""`iot-jobs-agent run`: the daemon itself."""

import argparse
import asyncio
import gc
import os
from collections.abc import Sequence

from iot_jobs_agent import logs
from iot_jobs_agent.commands import options
from iot_jobs_agent.config.config import load
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.daemon import Daemon
from iot_jobs_agent.errors import ConfigError, JournalError, StateDirectoryError
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.systemd import Notifier


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM, or with `--once` until nothing is pending. Return the exit status.

    0 after SIGTERM, or with `--once` if all executions succeeded; 1 if not; 69 if `--once` ended, by its time-out or by
    SIGTERM, before the service was ever reached. Also 1 if the journal failed, and 70 on a defect of ours: from both,
    the next start recovers.
    """
    chosen = parser().parse_args(arguments)
    if chosen.timeout is not None and not chosen.once:
        parser().error("--timeout says how long to handle what is pending: add --once")
    settings = load(chosen.config)
    logs.configure(settings.agent.log_level, settings.agent.log_format)
    if os.geteuid() == 0:
        logs.get_logger().warning("running as root, and so does every handler", hint="see docs/install.md for a user")
    state_directory.prepare(settings.agent.state_directory)
    lock = state_directory.lock(settings.agent.state_directory)
    try:
        return asyncio.run(_serve(settings, once=chosen.once, limit_s=chosen.timeout))
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


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("run")
    options.add_config(made)
    made.add_argument("--once", action="store_true", help="handle what is pending, then exit: 0 all succeeded, 1 not")
    options.add_timeout(made, "with --once: give up after so many seconds: 69 the service was never reached, else 1")
    return made


async def _serve(settings: Config, *, once: bool, limit_s: float | None) -> int:
    daemon = Daemon(settings, Notifier.from_environ())
    gc.freeze()  # the imported modules stay alive anyway, so keep the collector from scanning them again and again
    await daemon.run(once=once, limit_s=limit_s)
    return daemon.exit_status_of_once() if once else 0
