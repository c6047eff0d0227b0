"""The core's dataclasses behave as the library's."""

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from iot_jobs_agent.core import events, job, state, value
from iot_jobs_agent.core.effects import Update
from iot_jobs_agent.core.value import field, replace


class Empty:
    """Nothing."""


class One:
    """One member."""

    first: int = 1


class Pair:
    """Members with and without defaults."""

    first: int
    second: tuple[int, ...] = ()
    third: dict[str, int] = field(default_factory=dict)
    hidden: str = field(default="secret", repr=False)

    @property
    def total(self) -> int:
        return self.first + sum(self.second)


class Version:
    """Two members that have an order."""

    major: int
    minor: int = 0

    def __repr__(self) -> str:
        return f"v{self.major}.{self.minor}"


def made_by(dataclass: Any, raw: type, *, order: bool) -> Any:
    """Have a copy of the class decorated, since decorators change what they get."""
    members = {k: v for k, v in vars(raw).items() if k not in {"__dict__", "__weakref__"}}
    return dataclass(frozen=True, slots=True, order=order)(type(raw.__name__, (), members))


KINDS = {
    raw.__name__: tuple(made_by(each, raw, order=raw is Version) for each in (dataclasses.dataclass, value.dataclass))
    for raw in (Empty, One, Pair, Version)
}
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Empty", (), {}),
    ("One", (), {}),
    ("One", (2,), {}),
    ("Pair", (1,), {}),
    ("Pair", (1, (2, 3)), {"hidden": "x"}),
    ("Pair", (), {"first": 5, "third": {"a": 1}}),
    ("Version", (1,), {"minor": 2}),
]


@pytest.mark.parametrize(("kind", "positional", "named"), CALLS)
def test_a_value_looks_like_the_librarys(kind: str, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    theirs, ours = (cls(*positional, **named) for cls in KINDS[kind])
    assert repr(ours) == repr(theirs)
    assert [(f.name, f.repr) for f in dataclasses.fields(ours)] == [
        (f.name, f.repr) for f in dataclasses.fields(theirs)
    ]
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert type(ours).__match_args__ == type(theirs).__match_args__
    assert type(ours).__slots__ == type(theirs).__slots__
    assert ours.__doc__ == theirs.__doc__
    assert not hasattr(ours, "__dict__")


@pytest.mark.parametrize(("kind", "positional", "named"), CALLS)
def test_equal_are_values_of_one_class_with_equal_members(
    kind: str, positional: tuple[Any, ...], named: dict[str, Any]
) -> None:
    theirs, ours = KINDS[kind]
    made = ours(*positional, **named)
    assert made == ours(*positional, **named)
    assert made != theirs(*positional, **named)
    assert made != tuple(getattr(made, f.name) for f in dataclasses.fields(made))
    if kind != "Pair":
        assert hash(made) == hash(ours(*positional, **named))
    else:
        with pytest.raises(TypeError, match="unhashable"):
            hash(made)


def test_a_factory_makes_a_new_value_each_time() -> None:
    _, pair = KINDS["Pair"]
    assert pair(1).third is not pair(1).third


def test_values_cannot_be_changed() -> None:
    _, pair = KINDS["Pair"]
    made = pair(1)
    for change in (lambda: setattr(made, "first", 2), lambda: delattr(made, "first"), lambda: setattr(made, "new", 2)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert made == pair(1)


def test_a_copy_with_changes_is_what_the_library_makes() -> None:
    _, pair = KINDS["Pair"]
    made = pair(1, (2,), {"a": 1}, "x")
    assert replace(made, second=(7,)) == dataclasses.replace(made, second=(7,)) == pair(1, (7,), {"a": 1}, "x")
    assert replace(made) == made
    assert replace(made).total == 3
    with pytest.raises(TypeError, match="Pair has no member fourth"):
        replace(made, fourth=4)


@pytest.mark.parametrize("arguments", [(), (1, 2, 3, 4, 5)])
def test_wrong_arguments_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match="__init__"):
        KINDS["Pair"][1](*arguments)


def test_an_order_is_that_of_the_members() -> None:
    theirs, ours = KINDS["Version"]
    both = [(1, 0), (1, 2), (2, 0)]
    for left in both:
        for right in both:
            for compare in ("__lt__", "__le__", "__gt__", "__ge__"):
                assert getattr(ours(*left), compare)(ours(*right)) == getattr(theirs(*left), compare)(theirs(*right))
    with pytest.raises(TypeError):
        assert ours(1) < theirs(2)


def test_values_can_be_copied_and_pickled() -> None:
    made = job.AttemptId(job.ExecutionId("", "job-1", 1), 0, 1)
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == copy.copy(made) == made  # noqa: S301 - our own


def test_only_frozen_classes_with_slots_are_made() -> None:
    for options in ({"frozen": False, "slots": True}, {"frozen": True, "slots": False}):
        with pytest.raises(ValueError, match="only frozen classes with slots"):
            value.dataclass(**options)  # type: ignore[call-overload]  # mypy knows the library's


def test_every_value_of_the_core_can_be_matched_and_hides_its_secrets() -> None:
    match events.Tick(), state.Running(state.Work(job.Plan(())), "boot"):
        case events.Tick(), state.Running(work=state.Work(plan=job.Plan(steps)), boot_id=boot_id):
            assert (steps, boot_id) == ((), "boot")
        case _:
            pytest.fail("no match")
    step = job.Step("a", "a", job.StepKind.HANDLER, argv=("token",), input="token", settings="token")
    update = Update(job.ExecutionId("", "j", 1), 1, job.ExecutionStatus.FAILED, {"a": "token"})
    assert "token" not in repr(step) + repr(update)


@pytest.mark.parametrize(
    "members",
    [
        {"first": field(default=1, init=False)},
        {"first": field(default=1, compare=False)},
        {"first": field(default=1, hash=False)},
        {"first": field(default=1, kw_only=True)},
        {"first": 1, "__post_init__": lambda _: None},
    ],
    ids=["init", "compare", "hash", "kw_only", "post_init"],
)
def test_what_would_silently_be_ignored_is_refused(members: dict[str, Any]) -> None:
    raw = type("Odd", (), {"__annotations__": {"first": int}, **members})
    with pytest.raises(ValueError, match="Odd has what is not done here"):
        value.dataclass(frozen=True, slots=True)(raw)
