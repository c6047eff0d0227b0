"""Enabled handlers for tests of documents, as the catalog makes them of a manifest."""

from typing import Any

from iot_jobs_agent.documents.enabled_handler import EnabledHandler
from iot_jobs_agent.handler import Manifest


def enabled_handler(
    name: str,
    argv: tuple[str, ...],
    *,
    settings: str = "{}",
    directory: str = "",
    unavailable: str = "",
    **declared: Any,
) -> EnabledHandler:
    """Return a handler that declares these members of its manifest."""
    manifest = dict(Manifest(name=name, **declared))
    return EnabledHandler(argv=argv, settings=settings, directory=directory, unavailable=unavailable, **manifest)
