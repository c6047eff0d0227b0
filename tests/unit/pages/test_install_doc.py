"""What the installation page tells people to do is in an order that is safe."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs/install.md").read_text()


def commands_of(heading: str, number: int) -> list[str]:
    """Return a block of shell commands in a section, line by line; the first is 0."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[number].splitlines()


def test_an_upgrade_replaces_the_files_of_an_agent_only_while_it_is_stopped() -> None:
    commands = commands_of("Appendix: without the package", 2)
    assert commands[0] == "systemctl stop iot-jobs-agent"
    assert commands[-1] == "systemctl start iot-jobs-agent"
    assert [command for command in commands[1:-1] if "pip install" in command] != []
    assert [command for command in commands if "restart" in command] == []
