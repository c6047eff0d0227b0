"""What is said of connections that are lost again and again."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.configs import config_of

from iot_jobs_agent.aws.connection import LOSSES_LOGGED, Connection
from iot_jobs_agent.aws.subscriptions import LOG_EVERY


async def test_field_b3_equal_losses_in_a_row_are_not_all_logged(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []

    def log(event: str, **facts: Any) -> None:
        lines.append({"event": event, **facts})

    connection = Connection(config_of(tmp_path).aws, ("",), lambda _: None, log, log)
    unanswered: dict[Any, str] = {}
    lost: Any = SimpleNamespace(unanswered=unanswered, why_lost="AWS_ERROR_MQTT_UNEXPECTED_HANGUP")
    for _ in range(21):
        connection._connected_at = float("-inf")
        connection._blame(lost)
    assert len(lines) == LOSSES_LOGGED + 20 // LOG_EVERY
    lost.why_lost = "AWS_IO_SOCKET_CLOSED"
    connection._blame(lost)
    assert lines[-1]["why"] == "AWS_IO_SOCKET_CLOSED"
