"""The command `policy`, with the configuration that people begin with."""

import json
from pathlib import Path

import pytest

from iot_jobs_agent.commands.policy import main

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


def test_field_f8_the_policy_is_printed_without_any_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(EXAMPLE)]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["Statement"][0]["Resource"] == ["arn:aws:iot:eu-west-1:ACCOUNT:client/pi-kitchen-1"]
    assert printed.err == "iot-jobs-agent: replace ACCOUNT before you use this policy\n"


def test_field_f8_with_the_account_nothing_is_left_to_replace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(EXAMPLE), "--account", "123456789012", "--fleet"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "pi-kitchen-1" not in printed.out
