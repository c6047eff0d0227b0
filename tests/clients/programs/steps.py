"""What every device does about a job, for clients that publish and subscribe: start the next one, and end it."""

import json
import os

HOST, THING, CLIENT = os.environ["HOST"], os.environ["THING"], os.environ["CLIENT"]
MQTT_PORT, MQTTS_PORT = int(os.environ["MQTT_PORT"]), int(os.environ["MQTTS_PORT"])
CA, CERTIFICATE, KEY = os.environ["CA"], os.environ["CERTIFICATE"], os.environ["KEY"]
IS_FIVE = os.environ["VERSION"].startswith("5")
IS_SIGNED = os.environ["VERSION"].endswith("WebSocket")  # instead of a certificate
HTTP_PORT = int(os.environ["HTTP_URL"].rsplit(":", 1)[1])
WAIT_S = 20

PREFIX = f"$aws/things/{THING}/jobs/"
FILTERS = [PREFIX + "start-next/accepted", PREFIX + "start-next/rejected", PREFIX + "+/update/+"]
FIRST = (PREFIX + "start-next", b"{}")


def reply_to(topic: str, payload: bytes) -> tuple[str, bytes] | None:
    """Return what to publish next, None once the job has ended."""
    answer = json.loads(payload)
    match topic.removeprefix(PREFIX).split("/"):
        case ["start-next", "accepted"]:
            execution = answer["execution"]
            change = {
                "status": "SUCCEEDED",
                "expectedVersion": execution["versionNumber"],
                "statusDetails": {"client": CLIENT},
            }
            return f"{PREFIX}{execution['jobId']}/update", json.dumps(change).encode()
        case [_, "update", "accepted"]:
            return None
    raise SystemExit(f"{topic}: {answer}")
