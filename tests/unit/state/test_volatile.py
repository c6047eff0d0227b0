"""Which directories survive a reboot, by the mounts that there are."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.state.volatile import why_volatile

ROOT_DISK = "22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw"


def told(tmp_path: Path, directory: Path, *lines: str) -> str:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("\n".join([ROOT_DISK, *lines, ""]))
    return why_volatile(directory, mounts)


def test_field_c7_a_disk_survives(tmp_path: Path) -> None:
    assert told(tmp_path, tmp_path / "not" / "there" / "yet") == ""


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_field_c7_memory_does_not(tmp_path: Path, kind: str) -> None:
    (tmp_path / "state").mkdir()
    mounted = f"30 22 0:40 / {tmp_path}/state rw - {kind} {kind} rw,size=1024k"
    assert told(tmp_path, tmp_path / "state" / "deeper", mounted) == f"{tmp_path}/state is a {kind}"
    assert told(tmp_path, tmp_path, mounted) == ""


def test_field_c7_an_overlay_is_judged_by_its_upper_layer(tmp_path: Path) -> None:
    for name in ("disk", "memory"):
        (tmp_path / name / "upper").mkdir(parents=True)
    memory = f"31 22 0:41 / {tmp_path}/memory rw - tmpfs tmpfs rw"

    def overlay(upper: str) -> str:
        return f"32 22 0:42 / / rw - overlay overlay rw,lowerdir=/lower,upperdir={upper},workdir=/work"

    at_first = f"23 22 179:2 / {tmp_path}/disk rw - ext4 /dev/sda1 rw"
    assert told(tmp_path, tmp_path, memory, at_first, overlay(f"{tmp_path}/disk/upper")) == ""
    assert "upper layer is on a tmpfs" in told(tmp_path, tmp_path, memory, overlay(f"{tmp_path}/memory/upper"))
    assert "upper layer cannot be seen" in told(tmp_path, tmp_path, memory, overlay("/run/of/initramfs"))


def test_field_c7_the_mount_on_top_counts(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    below = f"30 22 0:40 / {tmp_path}/a\\040b rw - tmpfs tmpfs rw"
    above = f"31 30 8:1 / {tmp_path}/a\\040b rw - ext4 /dev/sda1 rw"
    assert told(tmp_path, tmp_path / "a b", below) == f"{tmp_path}/a b is a tmpfs"
    assert told(tmp_path, tmp_path / "a b", below, above) == ""


def test_field_c7_what_cannot_be_read_is_no_reason(tmp_path: Path) -> None:
    assert why_volatile(tmp_path, tmp_path / "none") == ""
    assert told(tmp_path, tmp_path, "garbage", "1 2 3 - ") == ""


def test_field_c7_real_memory_is_recognized() -> None:
    assert why_volatile(Path("/dev/shm/state")) == "/dev/shm is a tmpfs"


def test_field_c7_an_upper_layer_that_this_user_may_not_look_for_cannot_be_seen(
    as_nobody: Callable[..., Any],
) -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own directories are closed to others
        Path(place).chmod(0o711)
        (Path(place) / "private").mkdir(mode=0o700)
        mounts = Path(place) / "mountinfo"
        mounts.write_text(f"32 22 0:42 / / rw - overlay overlay rw,upperdir={place}/private/upper\n")
        mounts.chmod(0o644)
        with as_nobody():
            assert "cannot be seen" in why_volatile(Path("/"), mounts)
