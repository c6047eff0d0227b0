import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.catalog import Device, describing
from tests.support.configs import config_of

from iot_jobs_agent import worker
from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.core.job import OnInterrupt
from iot_jobs_agent.documents.enabled_handler import EnabledHandler
from iot_jobs_agent.handler import Manifest


async def test_only_enabled_handlers_are_found_and_asked(device: Device) -> None:
    device.install("copy", "#!/bin/sh\n: describe\ntouch asked\n")
    catalog = device.catalog("write-file")
    assert catalog.enabled() == {}
    await catalog.refresh()
    handler = catalog.enabled()["write-file"]
    assert list(catalog.enabled()) == ["write-file"]
    assert handler.argv == (*device.worker, "iot_jobs_handlers.write_file:HANDLER")
    assert (handler.timeout_s, handler.unavailable, handler.directory) == (60, "", "")
    assert device.asked() == [["iot_jobs_handlers.write_file:HANDLER"]]
    assert set(catalog.known()) == {"copy", *BUILT_INS}
    assert catalog.known()["copy"].origin == str(device.handlers / "copy")


async def test_all_python_handlers_are_described_by_one_process_in_a_clean_environment(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    await device.catalog("run-command", "write-file").refresh()
    (call,) = map(json.loads, device.ledger.read_text().splitlines())
    assert call[0] == "--describe"
    assert call[1] == ["iot_jobs_handlers.run_command:HANDLER", "iot_jobs_handlers.write_file:HANDLER"]
    assert set(call[2]) <= {"PATH", "LANG", "JOB_PROTOCOL", "LC_CTYPE"}


async def test_the_configuration_overrides_the_manifest_and_gives_settings(device: Device) -> None:
    catalog = device.catalog(
        "write-file", handler={"write-file": {"timeout_s": 5, "on_interrupt": "rerun", "roots": ["/srv"]}}
    )
    await catalog.refresh()
    handler = catalog.enabled()["write-file"]
    assert (handler.timeout_s, handler.max_timeout_s) == (5, 5)
    assert handler.on_interrupt is OnInterrupt.RERUN
    assert json.loads(handler.settings) == {"roots": ["/srv"]}


@pytest.mark.parametrize(
    ("name", "override", "may_reboot"),
    [("run-command", True, True), ("run-command", None, False), ("write-file", True, False)],
)
async def test_a_reboot_needs_the_word_of_manifest_and_configuration(
    device: Device, name: str, override: bool | None, may_reboot: bool
) -> None:
    section = {} if override is None else {"may_reboot": override}
    catalog = device.catalog(name, handler={name: section})
    await catalog.refresh()
    assert catalog.enabled()[name].may_reboot is may_reboot


async def test_an_executable_of_a_directory_wins_over_a_built_in(device: Device) -> None:
    path = device.install("write-file.sh", describing(timeout_s=7, summary="ours"))
    catalog = device.catalog("write-file")
    await catalog.refresh()
    handler = catalog.enabled()["write-file"]
    assert (handler.argv, handler.directory) == ((str(path),), str(device.handlers))
    assert (handler.timeout_s, handler.summary, handler.name) == (7, "ours", "write-file")
    assert device.asked() == []


async def test_an_untrusted_executable_hides_the_built_in_of_its_name(device: Device) -> None:
    device.install("write-file", "#!/bin/sh\n", mode=0o777)
    catalog = device.catalog("write-file")
    await catalog.refresh()
    assert "is writable by others" in catalog.enabled()["write-file"].unavailable
    device.install("write-file", "#!/bin/sh\n", mode=0o755)
    await catalog.refresh()
    assert catalog.enabled()["write-file"].unavailable == ""


async def test_a_directory_in_place_of_a_handler_is_unavailable(device: Device) -> None:
    (device.handlers / "copy").mkdir()
    catalog = device.catalog("copy")
    await catalog.refresh()
    assert "is not a regular file" in catalog.enabled()["copy"].unavailable


async def test_an_unknown_name_is_unavailable(device: Device) -> None:
    catalog = device.catalog("copy")
    await catalog.refresh()
    assert "has this name; install it or remove it" in catalog.enabled()["copy"].unavailable


def package(site: Path, name: str, *, entry: str, spec: str) -> None:
    metadata = site / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[iot_jobs_agent.handlers]\n{entry} = {spec}\n")
    (site / f"{spec.partition(':')[0]}.py").write_text("raise RuntimeError('imported by the agent')\n")


async def test_an_installed_handler_is_known_but_runs_only_when_enabled(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "acme-jobs", entry="flash", spec="acme_flash:HANDLER")
    monkeypatch.syspath_prepend(tmp_path / "site")
    device.told.write_text(json.dumps({"acme_flash:HANDLER": {"name": "flash", "timeout_s": 9}}))
    catalog = device.catalog()
    await catalog.refresh()
    assert catalog.enabled() == {}
    assert catalog.known()["flash"].origin == "package acme-jobs 1.0"
    catalog = device.catalog("flash")
    await catalog.refresh()
    assert catalog.enabled()["flash"].timeout_s == 9
    assert catalog.enabled()["flash"].argv[-1] == "acme_flash:HANDLER"
    (tmp_path / "site" / "acme_flash.py").chmod(0o666)
    await catalog.refresh()
    assert "is writable by others" in catalog.enabled()["flash"].unavailable


async def test_packages_that_people_add_are_found_but_only_the_worker_can_import_them(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, prefix = tmp_path / "site", tmp_path / "prefix"
    package(site, "acme-jobs", entry="flash", spec="acme_flash:HANDLER")
    prefix.mkdir()
    (prefix / "handler-packages").write_text(f"{site}\n")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    device.told.write_text(json.dumps({"acme_flash:HANDLER": {"name": "flash", "timeout_s": 9}}))
    catalog = device.catalog("flash")
    await catalog.refresh()
    assert catalog.enabled()["flash"].timeout_s == 9
    assert catalog.find("flash").path == site / "acme_flash.py"
    assert importlib.util.find_spec("acme_flash") is None
    monkeypatch.setattr(sys, "path", [*sys.path])
    worker.main([])
    assert importlib.util.find_spec("acme_flash") is not None


async def test_a_package_is_asked_by_itself_so_that_it_cannot_answer_for_others(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("acme", "other"):
        package(tmp_path / "site", f"{name}-jobs", entry=name, spec=f"{name}_flash:HANDLER")
    monkeypatch.syspath_prepend(tmp_path / "site")
    await device.catalog("acme", "other", "write-file", "download-file").refresh()
    assert [specs for specs in device.asked() if len(specs) == 1] == [["acme_flash:HANDLER"], ["other_flash:HANDLER"]]
    assert sum(map(len, device.asked())) == 4


@pytest.mark.parametrize("file", ["acme/jobs/flash.py", "acme/jobs/flash/__init__.py"])
async def test_a_module_deep_in_a_package_must_be_trustworthy_too(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    site = tmp_path / "site"
    package(site, "acme-jobs", entry="flash", spec="acme.jobs.flash:HANDLER")
    module = site / file
    module.parent.mkdir(parents=True)
    (site / "acme" / "__init__.py").touch()
    (site / "acme" / "jobs" / "__init__.py").touch()
    module.touch()
    monkeypatch.syspath_prepend(site)
    device.told.write_text(json.dumps({"acme.jobs.flash:HANDLER": {"name": "flash"}}))
    catalog = device.catalog("flash")
    await catalog.refresh()
    assert catalog.enabled()["flash"].unavailable == ""
    module.chmod(0o666)
    await catalog.refresh()
    assert f"{module} is writable by others" in catalog.enabled()["flash"].unavailable


async def test_a_package_installed_while_the_agent_runs_is_found_at_the_next_refresh(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    catalog = device.catalog("flash")
    await catalog.refresh()
    assert catalog.enabled()["flash"].unavailable != ""
    package(tmp_path / "site", "acme-jobs", entry="flash", spec="acme_flash:HANDLER")
    device.told.write_text(json.dumps({"acme_flash:HANDLER": {"name": "flash"}}))
    await catalog.refresh()
    assert catalog.enabled()["flash"].unavailable == ""


async def test_two_packages_with_one_name_make_it_unavailable(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "acme-jobs", entry="flash", spec="acme_flash:HANDLER")
    package(tmp_path / "site", "evil-jobs", entry="flash", spec="evil_flash:HANDLER")
    package(tmp_path / "site", "evil-files", entry="write-file", spec="evil_write:HANDLER")
    monkeypatch.syspath_prepend(tmp_path / "site")
    catalog = device.catalog("flash", "write-file")
    await catalog.refresh()
    assert "both package" in catalog.enabled()["flash"].unavailable
    assert catalog.enabled()["write-file"].argv[-1] == "iot_jobs_handlers.write_file:HANDLER"


def test_the_rules_for_documents_come_from_the_configuration(device: Device) -> None:
    rules = device.catalog("run-command", handler={"run-command": {"programs": ["/bin/echo"]}}).rules()
    assert (rules.directories, rules.run_as_users) == ((str(device.handlers),), ("kiosk",))
    assert rules.programs == ("/bin/echo",)
    assert (rules.has_units, rules.profiles) == (False, {})
    assert (
        rules.own_user
        == subprocess.run(["/usr/bin/id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    )


def test_whether_steps_can_run_as_another_user_comes_from_the_configuration_too(device: Device) -> None:
    sections = {"handlers": {"launcher": "units"}, "handler": {"write-file": {"profile": "files"}}}
    rules = Catalog(config_of(device.state, **sections)).rules()
    assert (rules.has_units, rules.profiles) == (True, {"write-file": "files"})


def test_a_user_without_a_name_is_known_by_its_number(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 3_999_999_999)
    assert device.catalog().rules().own_user == "3999999999"


@pytest.mark.parametrize(
    ("program", "mode", "words"),
    [("tool", 0o777, "is writable by others"), ("tool", 0o755, ""), ("tol", 0o755, "does not exist. Did you mean")],
)
async def test_field_a3_a_program_is_held_to_the_rule_of_handlers(
    device: Device, program: str, mode: int, words: str
) -> None:
    tool = device.handlers / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(mode)
    settings = {"run-command": {"programs": ["/bin/echo", str(device.handlers / program)]}}
    catalog = device.catalog("run-command", handler=settings)
    await catalog.refresh()
    unavailable = catalog.enabled()["run-command"].unavailable
    assert (words in unavailable, bool(words)) == (True, bool(unavailable))
    if words:
        assert str(tool) in unavailable


def test_only_the_manifest_has_defaults_for_what_a_manifest_declares() -> None:
    assert set(Manifest.model_fields) < set(EnabledHandler._fields)
    assert set(Manifest.model_fields) & set(EnabledHandler._field_defaults) == set()


def test_known_names_are_legal_ones_only(device: Device) -> None:
    for name in ("copy.sh", "Copy", ".hidden", "Foo.py", "my_script"):
        device.install(name, "#!/bin/sh\n")
    device.install("README.md", "text\n", mode=0o644)  # data beside the handlers
    assert set(device.catalog().known()) == {"copy", "Copy", "Foo.py", "my_script", *BUILT_INS}


def test_field_e1_a_file_whose_name_no_handler_can_have_is_listed_with_the_fix(device: Device) -> None:
    fixes = {
        "my script.sh": "my-script.sh",
        "_deploy": "deploy",
        "deploy.sh.sh": "deploy.sh",
        "\u00fc.sh": "handler.sh",
        "x" * 70: "x" * 64,
    }
    for name in fixes:
        device.install(name, "#!/bin/sh\n")
    for name in (".hidden file", "my notes.txt", "copy.manifest.json"):
        device.install(name, "#!/bin/sh\n", mode=0o644)
    known = device.catalog().known()
    assert set(known) == {*fixes, *BUILT_INS}
    for name, fix in fixes.items():
        assert known[name].unavailable == f"its name cannot be that of a handler; rename it, for example to {fix}"
        assert known[name].origin == str(device.handlers / name)


def test_field_e1_an_entry_point_whose_name_no_handler_can_have_is_listed_with_the_fix(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "acme-jobs", entry="flash it", spec="acme_flash:HANDLER")
    monkeypatch.syspath_prepend(tmp_path / "site")
    source = device.catalog().known()["flash it"]
    assert source.unavailable.startswith("the name of its entry point cannot be the name of a handler; use such a name")


async def test_field_e8_a_schema_that_cannot_be_used_makes_the_executable_unavailable(device: Device) -> None:
    device.install("copy", describing(params={"type": "objekt"}))
    device.install("fine", describing(params={"type": "object"}))
    device.tell(params={"type": "objekt"})  # a Python handler's: its own model checks its params
    catalog = device.catalog("copy", "fine", "write-file")
    await catalog.refresh()
    unavailable = {name: handler.unavailable for name, handler in catalog.enabled().items()}
    assert unavailable["copy"].startswith("its manifest is wrong at params, which is not a usable JSON Schema: ")
    assert (unavailable["fine"], unavailable["write-file"]) == ("", "")


async def test_field_e8_a_schema_in_the_configuration_counts_as_the_manifests(device: Device) -> None:
    device.install("copy", describing())
    settings = {"copy": {"params": {"required": ["mb"]}}}
    catalog = device.catalog("copy", handler=settings)
    await catalog.refresh()
    assert dict(catalog.enabled()["copy"].params) == {"required": ["mb"]}


async def test_a_misspelt_built_in_is_named_with_the_one_that_was_meant(device: Device) -> None:
    catalog = device.catalog("run-comand")
    await catalog.refresh()
    assert "Did you mean run-command?" in catalog.enabled()["run-comand"].unavailable
