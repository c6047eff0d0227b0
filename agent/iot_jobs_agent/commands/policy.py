"""`iot-jobs-agent policy`: prints the IoT policy that the configuration needs, and nothing that it does not need."""

import argparse
import json
import re
import sys
from collections.abc import Sequence

from iot_jobs_agent.aws.iot_policy import policy
from iot_jobs_agent.commands import options
from iot_jobs_agent.config.config import load_without_files


def main(arguments: Sequence[str]) -> int:
    """Print the policy as JSON, and on stderr what has to be replaced in it. Return 0. Connects to nothing.

    Raises:
        ConfigError: the configuration cannot be used. The files that it names may be missing.
    """
    chosen = parser().parse_args(arguments)
    settings = load_without_files(chosen.config)
    text = json.dumps(policy(settings, chosen.account or "ACCOUNT", is_for_fleet=chosen.fleet), indent=2)
    print(text)
    missing = [word for word in ("REGION", "ACCOUNT") if f":{word}:" in text]
    if missing:
        print(f"iot-jobs-agent: replace {' and '.join(missing)} before you use this policy", file=sys.stderr)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("policy")
    options.add_config(made)
    made.add_argument("--account", type=_account, help="the number of the AWS account, 12 digits")
    made.add_argument(
        "--fleet", action="store_true", help="for all things that are configured alike, whatever their name"
    )
    return made


def _account(word: str) -> str:
    if not re.fullmatch(r"[0-9]{12}", word):
        raise argparse.ArgumentTypeError("must be 12 digits")
    return word
