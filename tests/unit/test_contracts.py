"""Every package of ours has its layers in pyproject.toml, where lint checks them."""

import tomllib
from typing import Any

from tests.support.files import ROOT

PACKAGES = ("agent/iot_jobs_agent", "handlers/iot_jobs_handlers", "simulator/iot_jobs_simulator")


def contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return list(settings["contracts"])


def test_every_package_has_layers_in_which_each_of_its_modules_has_a_place() -> None:
    layered = {name for each in contracts() if each["type"] == "layers" for name in each["containers"]}
    assert all(each["exhaustive"] for each in contracts() if each["type"] == "layers")
    packages = set()
    for top in PACKAGES:
        for path in (ROOT / top).rglob("*.py"):
            if path.name != "__init__.py":
                packages.add(".".join(path.parent.relative_to((ROOT / top).parent).parts))
    assert packages == layered
