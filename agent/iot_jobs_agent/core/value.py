"""Frozen slotted dataclasses that are cheap to define: `dataclass`, `field` and `replace`, used like the library's own.

The library writes and compiles seven functions for each class. For the classes here, this took a quarter of the time
of all imports of the agent. Here one function is compiled, `__init__`, and the others are shared. They do the same, and
to `fields`, `match` and mypy these classes are dataclasses.
"""

import dataclasses
import operator
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field", "replace"]


def _dataclass(*, frozen: bool, slots: bool, order: bool = False) -> Callable[[type], Any]:
    """Return a decorator that makes a class a frozen dataclass with slots."""
    if not (frozen and slots):
        raise ValueError("only frozen classes with slots are made here; use the library's dataclass for others")
    return _ordered if order else _defined


def _replace(value: Any, /, **changes: Any) -> Any:
    """Return a copy of a value in which some members are others. Raises TypeError if it has no such member."""
    new = object.__new__(value.__class__)
    for name, put in value.__class__.__put__:
        put(new, changes.pop(name) if name in changes else getattr(value, name))
    if changes:
        raise TypeError(f"{value.__class__.__name__} has no member {', '.join(changes)}")
    return new


def _defined(raw: type) -> Any:
    cls: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(raw)
    members = dataclasses.fields(cls)
    if hasattr(cls, "__post_init__") or not all(map(_is_plain, members)):
        raise ValueError(f"{raw.__name__} has what is not done here: use the library's dataclass for it")
    names = [each.name for each in members]
    cls.__put__ = tuple((name, getattr(cls, name).__set__) for name in names)
    cls.__init__ = _init(cls, members)
    get: Callable[[Any], Any] = operator.attrgetter(*names) if names else (lambda _: ())

    def equals(self: Any, other: object) -> bool:
        return get(self) == get(other) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: Any) -> int:
        return hash((get(self),))

    def get_state(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def set_state(self: Any, state: list[Any]) -> None:
        for (_, put), value in zip(cls.__put__, state, strict=True):
            put(self, value)

    cls.__eq__, cls.__hash__ = equals, hashed
    if "__repr__" not in vars(cls):
        cls.__repr__ = _repr
    cls.__setattr__ = cls.__delattr__ = _refuse
    cls.__getstate__, cls.__setstate__ = get_state, set_state
    return cls


def _is_plain(member: dataclasses.Field[Any]) -> bool:
    return member.init and member.compare and member.hash is None and not member.kw_only


def _ordered(raw: type) -> Any:
    cls = _defined(raw)
    get = operator.attrgetter(*(name for name, _ in cls.__put__))

    def comparing(how: Callable[[Any, Any], bool]) -> Callable[[Any, object], bool]:
        return lambda self, other: how(get(self), get(other)) if other.__class__ is self.__class__ else NotImplemented

    for name in ("lt", "le", "gt", "ge"):
        setattr(cls, f"__{name}__", comparing(getattr(operator, name)))
    return cls


def _init(cls: Any, members: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    """Compile `__init__`, which writes to the slots themselves, past what keeps the class frozen."""
    known: dict[str, Any] = {f"_put_{name}": put for name, put in cls.__put__}
    known["_missing"] = dataclasses.MISSING
    parameters, lines = ["self"], []
    for each in members:
        value = each.name
        if each.default_factory is not dataclasses.MISSING:
            known[f"_make_{each.name}"] = each.default_factory
            parameters.append(f"{each.name}=_missing")
            value = f"_make_{each.name}() if {each.name} is _missing else {each.name}"
        elif each.default is not dataclasses.MISSING:
            known[f"_default_{each.name}"] = each.default
            parameters.append(f"{each.name}=_default_{each.name}")
        else:
            parameters.append(each.name)
        lines.append(f"_put_{each.name}(self, {value})")
    exec(f"def __init__({', '.join(parameters)}): {'; '.join(lines) or 'pass'}", known)  # noqa: S102 - as the library does, from names of members
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse(self: Any, name: str, *_value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot change {name} of a {self.__class__.__name__}")


if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    dataclass, replace = _dataclass, _replace
