"""Finds names in the configuration that are nearly right, and says which name was probably meant. Pure."""

from collections.abc import Iterable, Iterator

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.config.values import Config

_CLOSE = 0.75  # of difflib's ratio: two letters exchanged in a short name


def advised(fault: str, name: str, known: Iterable[str], otherwise: str) -> str:
    """Return a fault of a name that is not among `known`, with what to do about it."""
    return with_question(fault, nearest(name, known), otherwise)


def with_question(fault: str, meant: str, otherwise: str = "") -> str:
    """Return a fault with the question whether `meant` was meant; without such a name, with what to do otherwise."""
    return f"{fault}. Did you mean {meant}?" if meant else f"{fault}; {otherwise}."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is spelt most like `name`, or ""."""
    names = sorted(known)
    alike = [each for each in names if _letters(each) == _letters(name)]
    if alike:
        return alike[0]
    from difflib import get_close_matches  # noqa: PLC0415 - takes 0.2 MB, and only a misspelt name needs it

    return next(iter(get_close_matches(name, names, n=1, cutoff=_CLOSE)), "") or next(
        (each for each in names if each.startswith(f"{name}_")), ""
    )


def name_problems(config: Config) -> Iterator[str]:
    """Object to handlers and settings whose name nobody looks up, if another one was probably meant."""
    for index, name in enumerate(config.handlers.enabled):
        if close := _built_in_of(config, name):
            yield with_question(f"handlers.enabled[{index}]: {name} is not there", close)
    known = {*config.handlers.enabled, *BUILT_INS}
    for name in config.handler:
        if name not in known and (close := nearest(name, known)):
            yield with_question(f"handler.{name}: is neither enabled nor built in", f"[handler.{close}]")
    for name, built_in in BUILT_INS.items():
        settings = built_in.known_settings
        for key in config.handler_settings(name):
            if key not in settings and key != "name":
                from iot_jobs_agent.config.keys import MANIFEST_KEYS  # noqa: PLC0415 - imports pydantic

                fault = f"handler.{name}.{key}: is not a setting of {name}"
                yield advised(fault, key, settings | MANIFEST_KEYS, "remove it (config.example.toml has all keys)")


def _built_in_of(config: Config, name: str) -> str:
    """Return the built-in that an enabled name stands for, spelt in another way; "" if it may be one of its own."""
    if name in BUILT_INS or any((d / f).exists() for d in config.handlers.directories for f in (name, f"{name}.sh")):
        return ""
    return next((each for each in BUILT_INS if _letters(each) == _letters(name)), "")


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()
