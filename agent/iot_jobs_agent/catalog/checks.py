"""Whether what handlers declare is valid. The running agent leaves that to a child, and remembers the answers.

pydantic takes 0.1 s and 10 MB, and most devices never see a new manifest between two starts.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from iot_jobs_agent.core.job import OnInterrupt
from iot_jobs_agent.definition import definition_hash
from iot_jobs_agent.state.sealed import read_sealed, write_sealed

CHECK = (sys.executable, "-I", "-m", "iot_jobs_agent.catalog.manifest_check")
WITHIN_S = 60.0  # Python and pydantic start in seconds on the smallest of boards


class CheckedManifest(NamedTuple):
    """All members of a manifest, valid; with a `problem`, those of a manifest that declares nothing."""

    members: Mapping[str, Any]
    problem: str = ""


class Checks:
    """The answers so far. With `file`, they are also kept there, and new ones come from a child; else from pydantic."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, Any] = {}
        if file is not None:
            kept = read_sealed(file, os.geteuid())
            if (
                definition_hash()
                and kept.get("definition") == definition_hash()
                and isinstance(kept.get("checked"), dict)
            ):
                self._known = kept["checked"]

    async def check(self, manifests: Sequence[Mapping[str, Any]]) -> list[CheckedManifest]:
        """Return the answers, in the order of `manifests`, each of which has a name. Never raises."""
        keys = [_key(each) for each in manifests]
        new = list(dict.fromkeys(key for key in keys if key not in self._known))
        if new:
            answers = await self._ask_child(new) or _ask_here(new)
            self._known = {key: self._known[key] for key in keys if key in self._known}  # no others are enabled now
            self._known |= dict(zip(new, answers, strict=True))
            if self._file is not None:
                write_sealed(self._file, {"definition": definition_hash(), "checked": self._known})
        return [_checked(self._known[key]) for key in keys]

    async def _ask_child(self, texts: Sequence[str]) -> list[dict[str, Any]] | None:
        """Return the answers; None if there is no child, or it did not answer."""
        if self._file is None:
            return None
        try:
            process = await asyncio.create_subprocess_exec(
                *CHECK, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
        except OSError:
            return None
        try:
            async with asyncio.timeout(WITHIN_S):
                output, _ = await process.communicate(f"[{','.join(texts)}]".encode())
            found = json.loads(output)
        except (OSError, TimeoutError, ValueError):
            return None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return found if isinstance(found, list) and len(found) == len(texts) else None


def _ask_here(texts: Sequence[str]) -> list[dict[str, Any]]:
    from iot_jobs_agent.catalog.manifest_check import checked  # noqa: PLC0415 - imports pydantic

    return [checked(json.loads(text)) for text in texts]


def _key(manifest: Mapping[str, Any]) -> str:
    """Return the manifest as JSON, in which a date of the configuration is text."""
    return json.dumps(dict(manifest), sort_keys=True, default=str)


def _checked(answer: Mapping[str, Any]) -> CheckedManifest:
    members = dict(answer["members"])
    members["on_interrupt"] = OnInterrupt(members["on_interrupt"])
    return CheckedManifest(members, answer["problem"])
