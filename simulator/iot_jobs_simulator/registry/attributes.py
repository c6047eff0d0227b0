"""Attributes of things and thing groups (API reference, AttributePayload). Pure."""

from collections.abc import Mapping


def updated(present: Mapping[str, str], given: Mapping[str, str], *, is_merged: bool) -> dict[str, str]:
    """The attributes after an update: replaced, or merged with those present. An empty value removes its attribute."""
    together = {**(present if is_merged else {}), **given}
    return {name: value for name, value in together.items() if value}
