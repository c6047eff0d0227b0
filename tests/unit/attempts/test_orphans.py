import os
import signal
import subprocess

from iot_jobs_agent.attempts import orphans


def test_the_token_finds_what_is_left_of_an_attempt_and_nothing_else() -> None:
    with (
        subprocess.Popen(["/bin/sleep", "1000"], env={"PATH": os.defpath, "JOB_TOKEN": "a1"}) as left,
        subprocess.Popen(["/bin/sleep", "1000"], env={"PATH": os.defpath, "JOB_TOKEN": "a12"}) as other,
    ):
        assert orphans.sweep("a1", lambda _: True) == (1, 0)
        assert other.poll() is None
        other.kill()
    assert (left.returncode, other.returncode) == (0, -signal.SIGKILL)  # the sweep has collected the first
