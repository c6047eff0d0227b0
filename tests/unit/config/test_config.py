import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.configs import refusal, write

from iot_jobs_agent.config.config import load, load_handlers, problems
from iot_jobs_agent.config.values import HandlerTable
from iot_jobs_agent.errors import ConfigError

ENABLE_AB = '[handlers]\nenabled = ["a", "b"]\n'
TAKES_ALL = '[[documents]]\nhandler = "a"\n'
TAKES_X = f'{TAKES_ALL}has = "x"\n'


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


@pytest.mark.parametrize(
    ("rest", "key", "fix"),
    [
        ('[handler.run-command]\nprogram = ["/bin/echo"]', "handler.run-command.program", "Did you mean programs?"),
        ("[handler.run-command]\ntimeout = 5", "handler.run-command.timeout", "Did you mean timeout_s?"),
        ("[handler.write-file]\ncolour = 5", "handler.write-file.colour", "remove it"),
        ('[handler.runcommand]\nprograms = ["/bin/echo"]', "handler.runcommand", "Did you mean [handler.run-command]?"),
        ('[handlers]\nenabled = ["run_command"]', "handlers.enabled[0]", "Did you mean run-command?"),
        ('[handlers]\nenabled = ["runcommand"]', "handlers.enabled[0]", "Did you mean run-command?"),
        (
            '[handlers]\nenabled = "run-command"',
            "handlers.enabled",
            "is not a list; write it in brackets, like enabled",
        ),
    ],
)
def test_field_f9_a_misspelt_name_is_refused_with_the_one_that_was_meant(
    directory: Path, rest: str, key: str, fix: str
) -> None:
    sentence = refusal(write(directory, rest=rest))
    assert sentence.startswith(f"{key}: ")
    assert fix in sentence
    assert "tuple" not in sentence
    assert "^[" not in sentence


def test_field_f9_a_handler_of_ones_own_may_be_called_almost_like_a_built_in(directory: Path) -> None:
    (directory / "handlers").mkdir()
    (directory / "handlers" / "runcommand").write_text("#!/bin/sh\n")
    tables = f'[handlers]\ndirectories = ["{directory}/handlers"]\nenabled = ["runcommand"]\n'
    assert problems(write(directory, rest=f"{tables}[handler.runcommand]\nmy_own = 1"), {}) == []


def test_field_f7_the_proxy_of_aws_reaches_the_handlers_that_use_it(directory: Path) -> None:
    proxy = "http://a%40b:c@proxy.example:3128"
    config = load(write(directory, aws=f'proxy = "{proxy}"', rest="[handler.download-file]\nmax_mb = 3"), {})
    assert config.aws.proxy == ("proxy.example", 3128, "a@b", "c")
    assert repr(config.aws.proxy) == "proxy.example port 3128"
    assert config.handler_settings("download-file") == {"proxy": proxy, "max_mb": 3}
    assert config.handler_settings("collect-logs") == {"proxy": proxy}
    assert config.handler_settings("write-file") == {}


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
        ('thing_name = "pi kitchen"', "aws.thing_name", "a-z A-Z 0-9 : _ -"),
        ("endpoint = 5", "aws.endpoint", "write it in quotation marks"),
        ('proxy = "proxy.example:3128"', "aws.proxy", "write it like http://proxy.example:3128"),
        ('proxy = "https://proxy.example:3128"', "aws.proxy", "write it like http://proxy.example:3128"),
        ('proxy = "http://proxy.example"', "aws.proxy", "with its port"),
        ("port = 0", "aws.port", "it should be greater than or equal to 1"),
        ("https_port = 65536", "aws.https_port", "it should be less than or equal to 65535"),
        ('port = "8883"', "aws.port", "it should be a valid integer"),
        ("tls = 1", "aws.tls", "it should be a valid boolean"),
        ("tls = false", "aws.tls", "set aws.endpoint to localhost"),
        ("keep_alive_s = 1", "aws.keep_alive_s", "it should be greater"),
        ('endpiont = "x"', "aws.endpiont", "Did you mean endpoint?"),
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
        ("[agnet]", "agnet", "Did you mean agent?"),
        ("[agent]\nmax_concurrent = 0", "agent.max_concurrent", "it should be greater"),
        ('[agent]\nonly = ""', "agent.only", "it should have at least 1 character"),
        ('[agent]\nlog_level = "loud"', "agent.log_level", "it should be 'debug'"),
        ('[agent]\nstate_directory = "state"', "agent.state_directory", "begin it with /"),
        ('[[namespaces]]\nid = "a/b"', "namespaces[0].id", "use such a name"),
        (f'[[namespaces]]\nid = "{"n" * 65}"', "namespaces[0].id", "use such a name"),
        ('[[namespaces]]\nid = "a"\n[[namespaces]]\nid = "a"', "namespaces", "keep one"),
        ('[[namespaces]]\nid = "a"\nhandler = "copy"', "namespaces[0].handler", "add it to handlers.enabled"),
        ('[handlers]\nenabled = ["../x"]', "handlers.enabled[0]", "use such a name"),
        ('[operations]\n"Do it" = "run-command"', 'operations."Do it"', "add it to handlers.enabled"),
        ('[operations]\n"Do it" = "a b"', "operations.Do it", "use such a name"),
        ('[operations]\n"" = "a"', "operations.", "it should have at least 1 character"),
        (f'{ENABLE_AB}[operations]\na = "b"', 'operations."a"', "remove this key"),
        ('[[documents]]\nhandler = "a"', "documents[0].handler", "add it to handlers.enabled"),
        ('[[documents]]\nhas = "x"', "documents[0].handler", "is missing; add it"),
        (f'{ENABLE_AB}[[documents]]\nhandler = "a"\nhas = ""', "documents[0].has", "at least 1 character"),
        (f'{ENABLE_AB}[[documents]]\nhandler = "a"\nhaas = "x"', "documents[0].haas", "Did you mean has?"),
        (f'{ENABLE_AB}{TAKES_ALL}[[documents]]\nhandler = "b"\nhas = "x"', "documents[1]", "put it first"),
        (f"{ENABLE_AB}{TAKES_X}{TAKES_X}", "documents[1].has", '"x" occurs before; keep one'),
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


def test_a_section_that_is_not_a_table_is_named(directory: Path) -> None:
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
    (directory / "private.key").write_text((directory / "certificate.pem").read_text())
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


def test_nobody_can_change_a_handlers_table_after_it_was_checked(directory: Path) -> None:
    config = load(write(directory, rest="[handler.copy]\ntimeout_s = 5\nsize = 3\n"), {})
    defaults = HandlerTable()
    tables = (config.handler, *config.handler["copy"], *defaults)
    for table in tables:
        with pytest.raises(TypeError):
            table["size"] = 4
    assert config.handler_settings("copy") == {"size": 3}


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
