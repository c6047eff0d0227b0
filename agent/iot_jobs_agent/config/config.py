"""The configuration: one TOML file, checked once and completely, and frozen from then on.

Owns reading the file, the rules across keys, and the form of every problem: `KEY: what is wrong; what to do.`, one
sentence each. The keys themselves are in `config.keys`, the rules about PEM files in `config.credentials`. What
needs pydantic is in `config.validation`, which is not imported before it is needed.
"""

import json
import os
import pwd
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.config.credentials import file_problem, with_credentials_directory
from iot_jobs_agent.config.spelling import name_problems
from iot_jobs_agent.config.values import SUBSCRIPTIONS_PER_CONNECTION, Config
from iot_jobs_agent.errors import ConfigError
from iot_jobs_agent.installation import installation
from iot_jobs_agent.trust import owner_of, trust_problem, way_to

__all__ = ["Config", "Validate", "Validated", "load", "load_handlers", "load_without_files", "problems", "validate"]

LARGEST_BYTES = 1024 * 1024  # of the file
_FOR_THE_AGENT = "it is for root and the agent's user, so run the command with sudo"
_NOWHERE = {  # stands in for [aws] where nothing connects
    "endpoint": "localhost",
    "thing_name": "none",
    **dict.fromkeys(("certificate", "private_key", "root_ca"), "/nonexistent"),
}


class Validated(NamedTuple):
    """What the text of a file says: plain values, or None and every problem with the keys.

    `handler_problems` are those with the tables of handlers, which only values without other problems have.
    """

    config: Config | None
    problems: tuple[str, ...] = ()
    handler_problems: tuple[str, ...] = ()


Validate: TypeAlias = Callable[[bytes, dict[str, Any], Mapping[str, str]], Validated]


def load(path: Path, environ: Mapping[str, str] = os.environ, validated: Validate | None = None) -> Config:
    """Read and check the file. Blocking.

    `validated` does what `validate` would do, and gets the file's text besides.

    Raises:
        ConfigError: with the first problem, one sentence that names the key and the fix (`problems` returns them all).
    """
    config, found = _read(path, environ, validated or (lambda _, table, variables: validate(table, variables)))
    if config is None or found:
        raise ConfigError(found[0])
    return config


def problems(path: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return everything that is wrong with the file, one sentence each; empty if nothing is. Blocks."""
    return _read(path, environ, lambda _, table, variables: validate(table, variables))[1]


def validate(table: dict[str, Any], environ: Mapping[str, str]) -> Validated:
    """Check the keys of the file's tables one by one, with pydantic, which the first call imports."""
    from iot_jobs_agent.config import validation  # noqa: PLC0415 - takes 0.1 s and 10 MB

    config, found = validation.checked_values(table, environ)
    if config is None:
        return Validated(None, tuple(found))
    return Validated(config, (), tuple(validation.problems_of_handlers(config)))


def load_handlers(path: Path | None) -> Config:
    """Read and check the file for a command that does not connect; None means the defaults. Blocks.

    `[aws]` may be missing. Only its proxy counts; the files that it names are not looked at.
    Raises ConfigError like `load`.
    """
    table, found = ({}, []) if path is None else _parse(path)
    if not found:
        aws = table.get("aws")
        proxy = {"proxy": aws["proxy"]} if isinstance(aws, dict) and "proxy" in aws else {}  # handlers use it too
        config, problems_of_keys, problems_of_handlers = validate(table | {"aws": _NOWHERE | proxy}, {})
        found = list(problems_of_keys)
        if config is not None:
            found = [*problems_of_handlers, *_handler_checks(config, path or Path("/nonexistent"))]
            if not found:
                return config
    raise ConfigError(found[0])


def load_without_files(path: Path) -> Config:
    """Read and check the file for a command that needs no certificate, perhaps not on the device. Blocks.

    `certificate`, `private_key` and `root_ca` do not count. Raises ConfigError like `load`.
    """
    table, found = _parse(path)
    if not found:
        aws = table.get("aws")
        if isinstance(aws, dict):
            table["aws"] = aws | dict.fromkeys(("certificate", "private_key", "root_ca"), "/nonexistent")
        config, problems_of_keys, _ = validate(table, {})
        found = list(problems_of_keys)
        if config is not None:
            found = [*_connection_problems(config), *_namespace_problems(config)]
            if not found:
                return config
    raise ConfigError(found[0])


def _read(path: Path, environ: Mapping[str, str], validated: Validate) -> tuple[Config | None, list[str]]:
    text, found = _text_of(path)
    if found:
        return None, found
    table, found = _parsed(text, path)
    if found:
        return None, found
    config, problems_of_keys, problems_of_handlers = validated(text, table, with_credentials_directory(environ, path))
    if config is None:
        return None, list(problems_of_keys)
    return config, list(_cross_checks(config, path, environ, problems_of_handlers))


def _parse(path: Path) -> tuple[dict[str, Any], list[str]]:
    text, found = _text_of(path)
    return ({}, found) if found else _parsed(text, path)


def _text_of(path: Path) -> tuple[bytes, list[str]]:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES), []
    except FileNotFoundError:
        return b"", [f"--config: {path} does not exist; copy config.example.toml there and edit it."]
    except PermissionError:
        return b"", [f"--config: {path} cannot be read by the user {_own_name()}; {_FOR_THE_AGENT}."]
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        return b"", [f"--config: {path} cannot be read ({reason}); let the agent's user read it."]


def _parsed(text: bytes, path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        return tomllib.loads(text.decode()), []
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        return {}, [f"--config: {path} is not valid TOML ({_place(error)}); correct the file there."]


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _place(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())


def _cross_checks(
    config: Config, path: Path, environ: Mapping[str, str], problems_of_handlers: Iterable[str]
) -> Iterator[str]:
    yield from _credential_problems(config, environ)
    yield from _trust_problems(config, path)
    yield from _connection_problems(config)
    yield from _namespace_problems(config)
    yield from problems_of_handlers
    yield from _handler_checks(config, path)


def _trust_problems(config: Config, path: Path) -> Iterator[str]:
    """What decides which handlers run, and whom the agent believes, is held to the rule for handlers' files."""
    owners = frozenset({0, os.geteuid(), owner_of(config.agent.state_directory) or 0})
    files = {"--config": path} | {f"aws.{key}": getattr(config.aws, key) for key in ("certificate", "root_ca")}
    for key, file in files.items():
        if file.exists() and (problem := trust_problem(file, owners=owners)):
            yield f"{key}: {problem}."


def _handler_checks(config: Config, path: Path) -> Iterator[str]:
    yield from _operation_problems(config)
    yield from _document_problems(config)
    yield from name_problems(config)
    yield from _path_list_problems(config)
    yield from _root_problems(config, path)


def _credential_problems(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    credentials_directory = Path(directory) if directory else None
    for key in ("certificate", "private_key", "root_ca"):
        private = key == "private_key"
        file = getattr(config.aws, key)
        problem = file_problem(f"aws.{key}", file, private=private, credentials_directory=credentials_directory)
        if problem:
            yield problem


def _connection_problems(config: Config) -> Iterator[str]:
    if not config.aws.tls and not config.aws.endpoint_is_loopback:
        yield "aws.tls: may be false for a loopback endpoint only; remove it, or set aws.endpoint to localhost."
    if not config.namespaces_served:
        yield "aws.default_namespace: is false and no other namespace is served; set it to true or add [[namespaces]]."
    if config.subscriptions > SUBSCRIPTIONS_PER_CONNECTION:
        way_out = " or set aws.api_text_topics to false" if config.aws.api_text_topics else ""
        yield (
            f"namespaces: {len(config.namespaces)} of them need {config.subscriptions} subscriptions and AWS IoT "
            f"allows {SUBSCRIPTIONS_PER_CONNECTION} a connection; serve fewer{way_out}."
        )


def _namespace_problems(config: Config) -> Iterator[str]:
    for identifier, count in Counter(entry.id for entry in config.namespaces).items():
        if count > 1:
            yield f"namespaces: {identifier} occurs {count} times; keep one."
    for index, entry in enumerate(config.namespaces):
        if entry.handler and entry.handler not in config.handlers.enabled:
            yield f"namespaces[{index}].handler: {entry.handler} is not enabled; add it to handlers.enabled."


def _operation_problems(config: Config) -> Iterator[str]:
    for asked, name in config.operations.items():
        key = f"operations.{json.dumps(asked)}"
        if name not in config.handlers.enabled:
            yield f"{key}: {name} is not enabled; add it to handlers.enabled."
        if asked != name and asked in config.handlers.enabled:
            yield f"{key}: is itself an enabled handler; remove this key, or that name from handlers.enabled."


def _document_problems(config: Config) -> Iterator[str]:
    seen: set[str] = set()
    for index, entry in enumerate(config.documents):
        key = f"documents[{index}]"
        if entry.handler not in config.handlers.enabled:
            yield f"{key}.handler: {entry.handler} is not enabled; add it to handlers.enabled."
        if "" in seen:
            yield f"{key}: is never reached, as an entry without `has` before it takes every document; put it first."
        elif entry.has in seen:
            yield f"{key}.has: {json.dumps(entry.has)} occurs before; keep one."
        seen.add(entry.has)


def _path_list_problems(config: Config) -> Iterator[str]:
    for name, built_in in BUILT_INS.items():
        for key, example in built_in.path_lists.items():
            if not _is_path_list(config.handler_settings(name).get(key, [])):
                yield f'handler.{name}.{key}: is not a list of absolute paths; write it like ["{example}"].'


def _is_path_list(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, str) and item.startswith("/") and "\0" not in item for item in value
    )


def _root_problems(config: Config, path: Path) -> Iterator[str]:
    """Object to every root below which a job could change what runs, what is allowed, or what is remembered."""
    for name, built_in in BUILT_INS.items():
        key = built_in.writes_below
        roots = config.handler_settings(name).get(key, []) if key else []
        for root in map(Path, roots if _is_path_list(roots) else []):
            if problem := _overlap_problem(root.resolve(), config, path):
                yield f"handler.{name}.{key}: {root} {problem}; choose a directory apart from it."


def _believed(config: Config, path: Path) -> Iterator[tuple[str, Path]]:
    """Tell the files that the agent runs or trusts, beside whole directories of them."""
    yield "the configuration", path
    yield "the private key", config.aws.private_key
    yield "the certificate", config.aws.certificate
    yield "aws.root_ca", config.aws.root_ca
    for name, built_in in BUILT_INS.items():
        settings = config.handler_settings(name)
        for key in built_in.trusted_files:
            found = settings.get(key, [])
            for file in found if isinstance(found, list) else [found]:
                if isinstance(file, str):
                    yield f"handler.{name}.{key}", Path(file)
    for directory in config.handlers.directories:
        for name in config.handlers.enabled:
            yield from ((f"the handler {name}", directory / file) for file in (name, f"{name}.sh"))


def _on_the_way(file: Path) -> Iterator[Path]:
    """Tell all that could be replaced to make a file another one; as far as it is there."""
    with suppress(OSError):
        yield from (entry for entry, _ in way_to(file))


def _overlap_problem(root: Path, config: Config, path: Path) -> str:
    """Return which file or directory that jobs must not change a root overlaps, "" if none. Blocks: follows links."""
    for what, file in _believed(config, path):
        if file.is_relative_to(root) or any(entry.is_relative_to(root) for entry in _on_the_way(file)):
            return f"overlaps {what} ({file})"
    trees = [("a handler directory", directory) for directory in config.handlers.directories]
    trees.append(("agent.state_directory", config.agent.state_directory))
    trees += [("the installation", directory) for directory in installation()]
    for what, tree in trees:
        if tree.resolve().is_relative_to(root) or root.is_relative_to(tree.resolve()):
            return f"overlaps {what} ({tree})"
    return ""
