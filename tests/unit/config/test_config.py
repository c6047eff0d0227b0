import contextlib
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_agent.config.config import load, load_handlers, problems
from iot_jobs_agent.config.keys import AgentTable, AwsTable, ConfigFile, HandlersTable, NamespaceTable
from iot_jobs_agent.errors import ConfigError
from iot_jobs_agent.handler import Manifest

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A device's /etc: three PEM files, and a state directory not yet made."""
    (tmp_path / "certificate.pem").write_text(CERTIFICATE)
    (tmp_path / "root-ca.pem").write_text(CERTIFICATE)
    (tmp_path / "private.key").write_text(PRIVATE_KEY)
    (tmp_path / "private.key").chmod(0o600)
    return tmp_path


def write(directory: Path, *, aws: str = "", rest: str = "", drop: str = "") -> Path:
    keys = {
        "endpoint": '"a1b2-ats.iot.eu-west-1.amazonaws.com"',
        "thing_name": '"pi-kitchen-1"',
        "certificate": f'"{directory}/certificate.pem"',
        "private_key": f'"{directory}/private.key"',
        "root_ca": f'"{directory}/root-ca.pem"',
    }
    for line in aws.splitlines():
        key, _, value = line.partition("=")
        keys[key.strip()] = value.strip()
    keys.pop(drop, None)
    lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
    path = directory / "config.toml"
    path.write_text(f"[aws]\n{lines}\n{rest}\n")
    return path


def refusal(path: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    message = str(caught.value)
    assert problems(path, environ or {})[0] == message
    assert "\n" not in message
    assert message.endswith(".")
    assert "; " in message, "a fix follows the fault"
    return message


def test_a_small_file_is_enough_and_the_defaults_follow(directory: Path) -> None:
    config = load(write(directory), {})
    assert config.aws.client_id == "pi-kitchen-1"
    assert config.aws.https_endpoint == config.aws.endpoint
    assert (config.aws.port, config.aws.https_port) == (8883, 8443)
    assert config.namespaces_served == ("",)
    assert config.agent.max_concurrent == 1
    assert config.handlers.enabled == ()
    assert problems(directory / "config.toml", {}) == []


def test_a_client_id_and_an_https_endpoint_of_their_own_are_kept(directory: Path) -> None:
    config = load(write(directory, aws='client_id = "pi-agent"\nhttps_endpoint = "localhost"'), {})
    assert (config.aws.client_id, config.aws.https_endpoint) == ("pi-agent", "localhost")


def test_the_configuration_cannot_be_changed_afterwards(directory: Path) -> None:
    config = load(write(directory), {})
    with pytest.raises(AttributeError):
        config.aws.port = 1


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    assert "config.example.toml" in refusal(tmp_path / "config.toml")


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    assert "--config" in refusal(tmp_path)


def test_a_syntax_error_names_the_line(directory: Path) -> None:
    path = write(directory, rest="[agent\n")
    assert re.search(r"--config: .* is not valid TOML \(.*line 7.*\); correct", refusal(path))


def test_a_file_that_is_not_text_is_one_sentence(directory: Path) -> None:
    path = directory / "config.toml"
    path.write_bytes(b"[aws]\n\xff")
    assert "byte 6 is not UTF-8" in refusal(path)


@pytest.mark.parametrize(
    ("aws", "key", "fix"),
    [
        ('endpoint = "https://a.iot.eu-west-1.amazonaws.com"', "aws.endpoint", "describe-endpoint"),
        ('endpoint = "a.iot.eu-west-1.amazonaws.com:8883"', "aws.endpoint", "without scheme, port or path"),
        ('endpoint = ""', "aws.endpoint", "describe-endpoint"),
        ('https_endpoint = "a b"', "aws.https_endpoint", "describe-endpoint"),
        ('thing_name = "pi kitchen"', "aws.thing_name", "use such a name"),
        (f'thing_name = "{"x" * 129}"', "aws.thing_name", "use such a name"),
        ('client_id = "$pi"', "aws.client_id", "choose another"),
        (f'client_id = "{"ü" * 65}"', "aws.client_id", "choose another"),
        ("port = 0", "aws.port", "it should be greater than or equal to 1"),
        ("https_port = 65536", "aws.https_port", "it should be less than or equal to 65535"),
        ('port = "8883"', "aws.port", "it should be a valid integer"),
        ("tls = 1", "aws.tls", "it should be a valid boolean"),
        ("tls = false", "aws.tls", "set aws.endpoint to localhost"),
        ("keep_alive_s = 1", "aws.keep_alive_s", "it should be greater"),
        ('endpiont = "x"', "aws.endpiont", "did you mean endpoint"),
        ("colour = 1", "aws.colour", "remove it"),
        ('certificate = "certificate.pem"', "aws.certificate", "begin it with /"),
        ('certificate = "/nowhere/certificate.pem"', "aws.certificate", "put the PEM file there"),
        ('private_key = "/dev/null"', "aws.private_key", "name the PEM file itself"),
    ],
)
def test_a_wrong_key_under_aws_is_named_with_its_fix(directory: Path, aws: str, key: str, fix: str) -> None:
    message = refusal(write(directory, aws=aws))
    assert message.startswith(f"{key}: ")
    assert fix in message


@pytest.mark.parametrize("key", ["endpoint", "thing_name", "certificate", "private_key", "root_ca"])
def test_a_missing_key_is_named(directory: Path, key: str) -> None:
    assert refusal(write(directory, drop=key)).startswith(f"aws.{key}: is missing; add it")


@pytest.mark.parametrize(
    ("rest", "key", "fix"),
    [
        ("[agnet]", "agnet", "did you mean agent"),
        ("[agent]\nmax_concurrent = 0", "agent.max_concurrent", "it should be greater"),
        ('[agent]\nonly = ""', "agent.only", "it should have at least 1 character"),
        ('[agent]\nlog_level = "loud"', "agent.log_level", "it should be 'debug'"),
        ('[agent]\nstate_directory = "state"', "agent.state_directory", "begin it with /"),
        ('[[namespaces]]\nid = "a/b"', "namespaces[0].id", "use such a name"),
        (f'[[namespaces]]\nid = "{"n" * 65}"', "namespaces[0].id", "use such a name"),
        ('[[namespaces]]\nid = "a"\n[[namespaces]]\nid = "a"', "namespaces", "keep one"),
        ('[[namespaces]]\nid = "a"\nhandler = "copy"', "namespaces[0].handler", "add it to handlers.enabled"),
        ('[handlers]\nenabled = ["../x"]', "handlers.enabled[0]", "use such a name"),
        ('[handlers]\nenabled = ["a", "a"]', "handlers.enabled", "name it once"),
        ('[handlers]\ndirectories = ["handlers"]', "handlers.directories[0]", "begin it with /"),
        ('[handlers]\ndirectories = ["/a\\u0000b"]', "handlers.directories[0]", "begin it with /"),
        ('[handlers]\nrun_as_users = ["Root!"]', "handlers.run_as_users[0]", "use such a name"),
        ('[handler."No Name"]', "handler.No Name", "use such a name"),
        ("[handler.x]\ntimeout_s = 0", "handler.x.timeout_s", "it should be greater than 0"),
        ('[handler.x]\non_interrupt = "pray"', "handler.x.on_interrupt", "it should be 'fail'"),
        ('[handler.x]\nname = "y"', "handler.x.name", "remove this key"),
        ("[handler.x]\nratio = [{ a = nan }]", "handler.x.ratio", "ordinary number"),
        ('[handler.run-command]\nprograms = ["uptime"]', "handler.run-command.programs", "/usr/bin/uptime"),
        ('[handler.run-command]\nprograms = "/bin/echo"', "handler.run-command.programs", "/usr/bin/uptime"),
        ('[handler.write-file]\nroots = "/srv"', "handler.write-file.roots", "/srv/data"),
    ],
)
def test_a_wrong_key_elsewhere_is_named_with_its_fix(directory: Path, rest: str, key: str, fix: str) -> None:
    message = refusal(write(directory, rest=rest))
    assert message.startswith(f"{key}: ")
    assert fix in message


def test_a_section_that_is_no_table_is_named(directory: Path) -> None:
    path = directory / "config.toml"
    path.write_text("aws = 1\n")
    assert refusal(path) == "aws: is not a table; write it as [aws]."


@pytest.mark.parametrize("mode", [0o604, 0o601, 0o640, 0o620])
def test_a_private_key_that_others_can_open_is_refused(directory: Path, mode: int) -> None:
    path = write(directory)
    (directory / "private.key").chmod(mode)
    message = refusal(path)
    assert message.startswith("aws.private_key: ")
    assert "chmod 600" in message


def test_group_bits_are_fine_only_below_the_credentials_directory(directory: Path) -> None:
    path = write(directory, aws='private_key = "${CREDENTIALS_DIRECTORY}/private.key"')
    (directory / "private.key").chmod(0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(directory)}
    assert load(path, environ).aws.private_key == directory / "private.key"
    (directory / "private.key").chmod(0o444)
    assert "chmod 600" in refusal(path, environ)


def test_field_g7_an_unset_credentials_directory_is_explained_with_the_command_to_type(directory: Path) -> None:
    path = write(directory, aws='private_key = "${CREDENTIALS_DIRECTORY}/private.key"')
    assert refusal(path) == (
        "aws.private_key: uses ${CREDENTIALS_DIRECTORY}, which systemd sets for the service only; for a command, set it"
        " to the directory of the files (`sudo CREDENTIALS_DIRECTORY=/etc/iot-jobs-agent/credentials"
        " iot-jobs-agent ...`)."
    )


def test_field_g7_a_configuration_that_this_user_may_not_read_is_told_with_the_way_out(
    directory: Path, as_nobody: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    path = write(directory)
    with as_nobody():
        said = refusal(path)
        with pytest.raises(ConfigError) as raised:
            load_handlers(path)
    assert said == str(raised.value)
    assert said == (
        f"--config: {path} cannot be read by the user nobody; it is for root and the agent's user, so run the command"
        " with sudo."
    )


def test_no_other_variable_is_expanded(directory: Path) -> None:
    path = write(directory, aws='root_ca = "${HOME}/root-ca.pem"')
    assert "begin it with /" in refusal(path, {"HOME": str(directory)})


def test_a_certificate_in_the_place_of_the_key_is_refused(directory: Path) -> None:
    path = write(directory)
    (directory / "private.key").write_text(CERTIFICATE)
    assert "holds no PEM private key; put" in refusal(path)


def test_all_problems_are_listed_one_sentence_each(directory: Path) -> None:
    path = write(directory, rest='[[namespaces]]\nid = "a"\nhandler = "x"\n[handler.x]\ntimeout_s = -1')
    (directory / "private.key").chmod(0o644)
    (directory / "root-ca.pem").unlink()
    found = problems(path, {})
    assert [line.split(":")[0] for line in found] == [
        "aws.private_key",
        "aws.root_ca",
        "namespaces[0].handler",
        "handler.x.timeout_s",
    ]


def test_nothing_to_serve_is_refused(directory: Path) -> None:
    message = refusal(write(directory, aws="default_namespace = false"))
    assert message.startswith("aws.default_namespace: ")
    assert "add [[namespaces]]" in message


@pytest.mark.parametrize(
    ("aws", "most"), [("", 14), ("api_text_topics = false", 21), ("default_namespace = false", 16)]
)
def test_as_many_namespaces_as_fifty_subscriptions_allow(directory: Path, aws: str, most: int) -> None:
    def entries(count: int) -> str:
        return "\n".join(f'[[namespaces]]\nid = "n{number}"' for number in range(count))

    assert load(write(directory, aws=aws, rest=entries(most)), {}).subscriptions <= 50
    message = refusal(write(directory, aws=aws, rest=entries(most + 1)))
    assert message.startswith("namespaces: ")
    assert "serve fewer" in message
    assert ("api_text_topics" in message) is (aws != "api_text_topics = false")


@pytest.mark.parametrize("endpoint", ["localhost", "127.0.0.1", "::1", "127.0.0.2"])
def test_without_tls_a_loopback_endpoint_is_accepted(directory: Path, endpoint: str) -> None:
    assert not load(write(directory, aws=f'tls = false\nendpoint = "{endpoint}"'), {}).aws.tls


def test_namespaces_are_served_in_order_and_bound_as_told(directory: Path) -> None:
    rest = '[[namespaces]]\nid = "b"\n[[namespaces]]\nid = "a"\nhandler = "copy"\n[handlers]\nenabled = ["copy"]'
    config = load(write(directory, rest=rest), {})
    assert config.namespaces_served == ("", "b", "a")
    assert [config.bound_handler(name) for name in config.namespaces_served] == ["", "", "copy"]


def test_settings_and_manifest_overrides_of_a_handler_are_told_apart(directory: Path) -> None:
    rest = (
        '[handler.copy]\ntimeout_s = 5\nsince = 2026-01-02\nnested = { at = [10:30:00] }\nsize = 3\nname-server = "x"'
    )
    config = load(write(directory, rest=rest), {})
    assert config.manifest_overrides("copy") == {"timeout_s": 5}
    assert config.handler_settings("copy") == {
        "since": "2026-01-02",
        "nested": {"at": ["10:30:00"]},
        "size": 3,
        "name-server": "x",
    }
    assert config.handler_settings("other") == config.manifest_overrides("other") == {}


@pytest.mark.parametrize(
    "where", ["{0}", "{0}/state", "{0}/state/deep", "{0}/handlers", "{0}/handlers/x", "/", "{0}/link"]
)
@pytest.mark.parametrize("handler", ["write-file", "download-file"])
def test_a_root_that_holds_or_is_held_by_what_must_not_be_written_is_refused(
    directory: Path, where: str, handler: str
) -> None:
    (directory / "link").symlink_to(directory)
    root = where.format(directory)
    rest = (
        f'[agent]\nstate_directory = "{directory}/state"\n[handlers]\ndirectories = ["{directory}/handlers"]\n'
        f'[handler.{handler}]\nroots = ["{root}"]'
    )
    message = refusal(write(directory, rest=rest))
    assert message.startswith(f"handler.{handler}.roots: {root} overlaps ")
    assert "choose a directory apart" in message


def test_a_root_that_holds_the_configuration_or_the_private_key_is_refused(directory: Path) -> None:
    (directory / "keys").mkdir()
    (directory / "private.key").rename(directory / "keys" / "private.key")
    aws = f'private_key = "{directory}/keys/private.key"'
    for root, what in ((directory, "the configuration"), (directory / "keys", "the private key")):
        message = refusal(write(directory, aws=aws, rest=f'[handler.write-file]\nroots = ["{root}"]'))
        assert f"overlaps {what} ({directory}/" in message


def test_field_a2_nothing_that_is_run_or_believed_may_lie_where_a_job_may_write(directory: Path) -> None:
    out, bin_, handlers = directory / "out", directory / "bin", directory / "handlers"
    for each in (out, bin_, handlers):
        each.mkdir(mode=0o755)
    (out / "tool").write_text("#!/bin/sh\n")
    (out / "link").symlink_to("/bin/echo")
    (bin_ / "through").symlink_to(out / "link")
    (handlers / "greet.sh").symlink_to(out / "tool")
    roots = f'[handler.write-file]\nroots = ["{out}"]\n'
    (directory / "root-ca.pem").rename(out / "ca.pem")
    cases = {
        "handler.run-command.programs": f'[handler.run-command]\nprograms = ["/bin/echo", "{out}/tool"]',
        f"handler.run-command.programs ({bin_}": f'[handler.run-command]\nprograms = ["{bin_}/through"]',
        "handler.collect-logs.ca_file": f'[handler.collect-logs]\nca_file = "{out}/ca.pem"',
        "the handler greet": f'[handlers]\nenabled = ["greet"]\ndirectories = ["{handlers}"]',
    }
    for what, rest in cases.items():
        root_ca = f'root_ca = "{directory}/certificate.pem"'
        message = refusal(write(directory, aws=root_ca, rest=roots + rest))
        assert message.startswith(f"handler.write-file.roots: {out} overlaps {what}"), message
    assert "overlaps aws.root_ca" in refusal(write(directory, aws=f'root_ca = "{out}/ca.pem"', rest=roots))
    certificate = f'root_ca = "{out}/ca.pem"\ncertificate = "{out}/ca.pem"'
    assert "overlaps the certificate" in refusal(write(directory, aws=certificate, rest=roots))


@pytest.mark.parametrize(("file", "key"), [("config.toml", "--config"), ("root-ca.pem", "aws.root_ca")])
@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_field_a3_what_decides_who_is_believed_is_nobody_elses_to_write(
    directory: Path, file: str, key: str, mode: int
) -> None:
    path = write(directory)
    (directory / file).chmod(mode)
    message = refusal(path)
    assert message.startswith(f"{key}: {directory / file} is writable by others")
    assert f"chmod go-w {directory / file}" in message


def test_a_root_inside_the_installation_is_refused(directory: Path) -> None:
    root = Path(__file__).parents[3] / "agent" / "iot_jobs_agent" / "core"
    assert "the installation" in refusal(write(directory, rest=f'[handler.write-file]\nroots = ["{root}"]'))


def test_a_root_apart_is_accepted(directory: Path) -> None:
    rest = f'[agent]\nstate_directory = "{directory}/state"\n[handler.write-file]\nroots = ["{directory}/out"]'
    assert load(write(directory, rest=rest), {}).handler_settings("write-file") == {"roots": [f"{directory}/out"]}


@given(junk=st.binary(max_size=200))
def test_no_file_content_gets_past_a_configuration_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.toml"
    path.write_bytes(junk)
    with pytest.raises(ConfigError):
        load(path, {})


def test_the_example_loads_as_it_is(directory: Path) -> None:
    path = directory / "config.toml"
    path.write_text(EXAMPLE.read_text())
    config = load(path, {"CREDENTIALS_DIRECTORY": str(directory)})
    assert config.handlers.enabled == ("run-command", "write-file")
    assert stat.S_IMODE(config.aws.private_key.stat().st_mode) == 0o600


def test_the_example_shows_every_key_with_its_default() -> None:
    text = EXAMPLE.read_text()
    for model in (AwsTable, AgentTable, HandlersTable, NamespaceTable):
        for key, field in model.model_fields.items():
            shown = re.search(rf"^(?:# )?{key} = (.+)$", text, re.MULTILINE)
            assert shown, f"{key} is missing in config.example.toml"
            if isinstance(field.default, bool | int | float):
                assert shown[1] == str(field.default).lower(), key
    assert set(ConfigFile.model_fields) <= set(re.findall(r"\[+([a-z]+)", text))
    assert all(key in text for key in Manifest.model_fields)


def test_the_defaults_that_the_example_comments_out_are_the_defaults(directory: Path) -> None:
    path = directory / "config.toml"
    uncommented = re.sub(r"^# (?=[a-z_]+ = |\[\[)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    path.write_text(uncommented)
    environ = {"CREDENTIALS_DIRECTORY": str(directory)}
    config = load(path, environ)
    path.write_text(EXAMPLE.read_text())
    bare = load(path, environ)
    assert (config.aws, config.agent, config.handlers) == (bare.aws, bare.agent, bare.handlers)
    assert config.bound_handler("team-a") == "write-file"
