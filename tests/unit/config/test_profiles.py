"""The keys that say how handlers run: the plain way or in units of their own, and in units of which profile."""

from pathlib import Path

import pytest
from tests.support.configs import refusal, write

from iot_jobs_agent.config.config import load


def test_the_profiles_of_units_are_read_and_are_no_settings_of_handlers(directory: Path) -> None:
    tables = (
        '[handlers]\nlauncher = "units"\nprofile = "light"\n[handler.a]\nprofile = "x-1"\nown = 1\n[handler.b]\nown = 2'
    )
    config = load(write(directory, rest=tables), {})
    assert (config.handlers.launcher, config.handlers.profile) == ("units", "light")
    assert config.profiles == {"a": "x-1"}
    assert config.handler_settings("a") == {"own": 1}
    assert (load(write(directory), {}).handlers.launcher, load(write(directory), {}).handlers.profile) == (
        "plain",
        "network",
    )


@pytest.mark.parametrize(
    "name", ["Net work", "", "-a", "9", "a" * 33, "a\\n", "a/b", "a@b", "forget", "run_command", 5, ["a"]]
)
def test_a_profile_that_no_unit_can_have_is_refused_where_it_is_said(directory: Path, name: object) -> None:
    shown = f'"{name}"' if isinstance(name, str) else str(name)
    for_all = refusal(write(directory, rest=f"[handlers]\nprofile = {shown}"))
    assert for_all.startswith("handlers.profile: ")
    for_one = refusal(write(directory, rest=f"[handler.a]\nprofile = {shown}"))
    assert for_one.startswith("handler.a: profile is not the name of one; ")
    assert "handler's name" not in for_all
    assert "run-command" not in for_all


@pytest.mark.parametrize("name", ["as-", "as-kiosk", "as-a-b"])
def test_profiles_of_users_are_only_for_steps_that_name_them(directory: Path, name: str) -> None:
    words = "begins with as-, as only those of steps with a `runAsUser` do (handlers.run_as_users); name another one."
    assert refusal(write(directory, rest=f'[handlers]\nprofile = "{name}"')) == f"handlers.profile: {words}"
    assert refusal(write(directory, rest=f'[handler.a]\nprofile = "{name}"')) == f"handler.a: profile {words}"
    assert load(write(directory, rest='[handler.a]\nprofile = "assay"'), {}).profiles == {"a": "assay"}


def test_a_launcher_that_there_is_not_is_refused_with_those_that_there_are(directory: Path) -> None:
    assert "'plain' or 'units'" in refusal(write(directory, rest='[handlers]\nlauncher = "unit"'))
