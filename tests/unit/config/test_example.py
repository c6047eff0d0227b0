"""config.example.toml shows values in the way that its first lines say."""

import re
import stat
from pathlib import Path

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.config.config import load
from iot_jobs_agent.config.keys import AgentTable, AwsTable, ConfigFile, DocumentTable, HandlersTable, NamespaceTable
from iot_jobs_agent.handler import Manifest
from iot_jobs_handlers.download_file import MAX_MB
from iot_jobs_handlers.packages import LOCK_TIMEOUT_S
from iot_jobs_handlers.services import SETTLE_S

EXAMPLE = (Path(__file__).parents[3] / "config.example.toml").read_text()
DEFAULTS = {"max_mb": MAX_MB, "lock_timeout_s": LOCK_TIMEOUT_S, "settle_s": SETTLE_S}


def test_every_number_that_a_built_ins_table_comments_out_is_its_default() -> None:
    tables = EXAMPLE[EXAMPLE.index("[handler.run-command]") :]
    shown = re.findall(r"^# ([a-z_]+) = ([0-9.]+)$", tables, re.MULTILINE)
    assert {key for key, _ in shown} == DEFAULTS.keys()
    assert {key: float(value) for key, value in shown} == DEFAULTS


def test_the_example_loads_as_it_is(directory: Path) -> None:
    path = directory / "config.toml"
    path.write_text(EXAMPLE)
    config = load(path, {"CREDENTIALS_DIRECTORY": str(directory)})
    assert config.handlers.enabled == ("run-command", "write-file")
    assert stat.S_IMODE(config.aws.private_key.stat().st_mode) == 0o600


def test_the_example_shows_every_key_with_its_default() -> None:
    text = EXAMPLE
    for model in (AwsTable, AgentTable, HandlersTable, NamespaceTable, DocumentTable):
        for key, field in model.model_fields.items():
            shown = re.search(rf"^(?:# )?{key} = (.+)$", text, re.MULTILINE)
            assert shown, f"{key} is missing in config.example.toml"
            if isinstance(field.default, bool | int | float):
                assert shown[1] == str(field.default).lower(), key
    assert set(ConfigFile.model_fields) <= set(re.findall(r"\[+([a-z]+)", text))
    assert all(key in text for key in Manifest.model_fields)


def test_the_defaults_that_the_example_comments_out_are_the_defaults(directory: Path) -> None:
    path = directory / "config.toml"
    uncommented = re.sub(r"^# (?=[a-z_]+ = |\[\[)", "", EXAMPLE, flags=re.MULTILINE)
    path.write_text(uncommented)
    environ = {"CREDENTIALS_DIRECTORY": str(directory)}
    config = load(path, environ)
    path.write_text(EXAMPLE)
    bare = load(path, environ)
    assert (config.aws, config.agent, config.handlers) == (bare.aws, bare.agent, bare.handlers)
    assert config.bound_handler("team-a") == "write-file"


def test_field_f9_every_setting_that_the_example_shows_is_known_for_its_built_in() -> None:
    uncommented = re.sub(r"^# (?=[a-z_]+ = )", "", EXAMPLE, flags=re.MULTILINE)
    for name, built_in in BUILT_INS.items():
        table = re.search(rf"^\[handler\.{name}\]\n((?:.+\n|\n)*?)(?=^\[|\Z)", uncommented, re.MULTILINE)
        keys = set(re.findall(r"^([a-z_]+) = ", table[1], re.MULTILINE)) if table else set()
        assert keys - set(Manifest.model_fields) <= built_in.known_settings, name
