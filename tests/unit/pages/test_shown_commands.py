"""The test of pages finds every form in which a page shows a command of ours, and knows what it takes."""

import pytest
from tests.support.programs import Shown, bare_options_on, commands_on, every_option, known_commands, options_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`iot-jobs-agent check`", ("iot-jobs-agent", "check", set())),
        ("`run --once --timeout 5`", ("iot-jobs-agent", "run", {"--once", "--timeout"})),
        ("```sh\nA=b \\\n  /opt/x/bin/iot-jobs-agent chekc --config c\n```", ("iot-jobs-agent", "chekc", {"--config"})),
        ("```sh\nif ! x; then jobctl Fail; fi\n```", ("jobctl", "Fail", set())),
        (
            "    uv run iot-jobs-simulator --polcy strict  # --a comment",
            ("iot-jobs-simulator", "", {"--polcy"}),
        ),
        ("`uv run python -m benchmarks --gate`", ("benchmarks", "", {"--gate"})),
        ("| `jobctl reject\\|retry` |", ("jobctl", "reject", set())),
    ],
)
def test_a_command_on_a_page_is_found(text: str, shown: tuple[str, str, set[str]]) -> None:
    program, command, options = shown
    assert list(commands_on(f"Do\n{text}\nthen.\n")) == [Shown(program, command, frozenset(options))]


def test_what_is_not_a_command_of_ours_is_left_alone() -> None:
    text = "`journalctl --unit iot-jobs-agent --follow` `systemctl stop iot-jobs-agent` `install -g iot-jobs-agent x`"
    assert list(commands_on(text)) == []


def test_mistakes_in_commands_and_options_are_noticed() -> None:
    assert {"run", "try", ""} < known_commands("iot-jobs-agent")
    assert {"progress", "reject"} < known_commands("jobctl")
    assert "Run" not in known_commands("iot-jobs-agent")
    assert known_commands("iot-jobs-simulator") == {"", "rehearse"}
    assert "--once" in options_of("iot-jobs-agent", "run")
    assert "--once" not in options_of("iot-jobs-agent", "check")
    assert "--policy" in options_of("iot-jobs-simulator")
    assert {"--policy", "--cuts", "--gate", "--once"} < every_option()
    assert bare_options_on("`--once` and `x --twice`") == {"--once"}
