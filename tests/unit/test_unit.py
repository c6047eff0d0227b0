"""What a unit lets its processes write, by the rules of systemd.exec(5)."""

from pathlib import Path

import pytest

from iot_jobs_agent.unit import write_problem

STRICT = {"ProtectSystem": "strict", "StateDirectory": "iot-jobs-agent"}


@pytest.mark.parametrize(
    ("unit", "directory", "said"),
    [
        ({}, "/srv/iot-jobs", ""),
        ({"ProtectSystem": "no"}, "/usr/share", ""),
        (
            STRICT,
            "/srv/iot-jobs",
            "is read-only for the unit iot-jobs-agent (ProtectSystem=strict); put",
        ),
        (STRICT, "/var/lib/iot-jobs-agent/files", ""),
        (STRICT, "/var/lib/iot-jobs-agents", "ProtectSystem=strict"),
        (STRICT, "/dev/shm", ""),
        (STRICT | {"CacheDirectory": "a b:c"}, "/var/cache/a", ""),
        (STRICT | {"ReadWritePaths": "/opt /srv"}, "/srv/iot-jobs", ""),
        (STRICT | {"ReadWritePaths": "-/srv"}, "/srv/iot-jobs", ""),
        (STRICT | {"ReadWritePaths": "+/srv"}, "/srv/iot-jobs", ""),
        (STRICT | {"ReadWritePaths": "'/srv/a b'"}, "/srv/a b", ""),
        (STRICT | {"ReadWritePaths": "/srv/it's /opt"}, "/opt/x", ""),
        (STRICT | {"ReadWritePaths": "/srv/iot-jobs/deep"}, "/srv/iot-jobs", "ProtectSystem=strict"),
        (STRICT | {"ReadWritePaths": "/srv", "ReadOnlyPaths": "/srv/iot-jobs"}, "/srv/iot-jobs/x", "(ReadOnlyPaths=)"),
        (STRICT | {"BindPaths": "/disk:/srv/iot-jobs:rbind"}, "/srv/iot-jobs", ""),
        (STRICT | {"BindPaths": "/disk"}, "/disk/x", ""),
        ({"ProtectSystem": "full"}, "/etc/app", "ProtectSystem=full"),
        ({"ProtectSystem": "full"}, "/srv/app", ""),
        ({"ProtectSystem": "yes"}, "/etc/app", ""),
        (
            {"ProtectHome": "yes", "ReadWritePaths": "/home"},
            "/home/pi",
            "is hidden from the unit iot-jobs-agent (",
        ),
        ({"ProtectHome": "read-only"}, "/home/pi", "is read-only for the unit iot-jobs-agent (ProtectHome=read-only)"),
        ({"ProtectHome": "read-only", "ReadWritePaths": "/home/pi"}, "/home/pi/x", ""),
        ({"ProtectHome": "no"}, "/home/pi", ""),
        ({"PrivateTmp": "yes"}, "/var/tmp/x", "and is emptied when it stops; choose a directory elsewhere"),
        ({"PrivateTmp": "no"}, "/tmp/x", ""),
    ],
)
def test_what_a_unit_may_write_is_judged_as_systemd_does_it(unit: dict[str, str], directory: str, said: str) -> None:
    problem = write_problem(Path(directory), unit)
    assert said in problem
    assert bool(problem) == bool(said)


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr/share")
    assert "ProtectSystem=yes" in write_problem(tmp_path / "link", {"ProtectSystem": "yes"})
