"""`iot-jobs-agent resume`: lifts the pause that `pause` has set."""

import argparse
from collections.abc import Sequence

from iot_jobs_agent.commands import options
from iot_jobs_agent.state import directory as state_directory


def main(arguments: Sequence[str]) -> int:
    """Lift the pause. Return 0, even if there was none."""
    chosen = parser().parse_args(arguments)
    directory = options.owned_state_directory(chosen.config)
    was_paused = state_directory.is_paused(directory)
    state_directory.set_paused(directory, is_paused=False)
    print("resumed" if was_paused else "it was not paused")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("resume")
    options.add_config(made)
    return made
