"""`iot-jobs-agent new-handler`: writes a handler that works, with its tests, as a starting point for your own.

The skeletons are the files in `iot_jobs_agent/skeletons`, with `.txt` appended to their names; the words in @ signs are
replaced. A Python package takes iot-jobs-agent from where this installation came from, since an index may not have it.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.commands import options
from iot_jobs_agent.errors import AgentError
from iot_jobs_agent.handler_name import handler_name_problem

SKELETONS = Path(__file__).parents[1] / "skeletons"
RECORD = "direct_url.json"  # where an installation came from, if not from an index (PEP 610)
WITH_UV = "`uv run pytest` and `uv run ruff check .`"
WITHOUT_UV = """in an environment that has `iot-jobs-agent[simulator]`:
`pip install pytest ruff -e .`, then `pytest` and `ruff check .`"""
NEXT: Mapping[str, str] = {
    "python": 'iot-jobs-agent try {module}:HANDLER \'{{"text": "hello"}}\'',
    "shell": "sh test.sh",
}


class SkeletonError(AgentError):
    """The skeleton cannot be written. The message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Write the files, and print what to try next. Return 0.

    Raises:
        SkeletonError: the directory is not empty or cannot be written; the exit status is then 1.
    """
    chosen = parser().parse_intermixed_args(arguments)  # NAME --language shell DIR
    if problem := handler_name_problem(chosen.name):
        parser().error(f"{chosen.name!r} {problem}")
    if chosen.name in BUILT_INS:
        parser().error(f"{chosen.name} is built in: choose another name")
    directory = chosen.directory or Path(chosen.name)
    module = "handler_" + re.sub(r"[.-]", "_", chosen.name)
    try:
        words = {"@NAME@": chosen.name, "@MODULE@": module, **_ways(distribution("iot-jobs-agent").read_text(RECORD))}
        written = _write(directory, SKELETONS / chosen.language, words)
    except OSError as error:
        raise SkeletonError(f"{error.filename}: cannot be written ({(error.strerror or 'unknown').lower()})") from None
    for path in written:
        print(path)
    print(f"\nTry it:  cd {directory} && {NEXT[chosen.language].format(module=module)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("new-handler")
    made.add_argument("name", metavar="NAME", help="what documents call it: A-Z a-z 0-9 _ . -, at most 64")
    made.add_argument("directory", metavar="DIR", nargs="?", type=Path, help="default: ./NAME; must be new or empty")
    made.add_argument("--language", choices=sorted(NEXT), default="python", help="default: %(default)s")
    return made


def _ways(record: str | None) -> dict[str, str]:
    """Return the words for where uv finds iot-jobs-agent, and for how to run the tests.

    `record` is the text of the installation's `direct_url.json`, None if it came from an index. If the files that it
    came from are gone, only an environment that has it already can run the tests.
    """
    facts = json.loads(record) if record else {}
    url = str(facts.get("url", ""))
    if not url:
        return {"@SOURCE@": "", "@TEST@": WITH_UV}
    if "vcs_info" in facts:
        source = {"git": url, "rev": facts["vcs_info"]["commit_id"]}
    elif url.startswith("file:"):
        path = unquote(urlsplit(url).path)
        if not Path(path).exists():
            return {"@SOURCE@": "", "@TEST@": WITHOUT_UV}
        source = {"path": path}
    else:
        source = {"url": url}
    members = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in source.items()]
    if facts.get("dir_info", {}).get("editable"):
        members.append("editable = true")
    why = "# Where your installation of iot-jobs-agent came from. Remove this once an index has it.\n"
    table = f"{why}[tool.uv.sources]\niot-jobs-agent = {{ {', '.join(members)} }}\n\n"
    return {"@SOURCE@": table, "@TEST@": WITH_UV}


def _write(directory: Path, skeleton: Path, words: Mapping[str, str]) -> list[Path]:
    """Write all files, none of them writable by others, because a device insists on that; return their paths.

    Raises OSError, or SkeletonError if the directory is not empty.
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise SkeletonError(f"{directory} has something in it: name another directory")
    written = []
    for source in sorted(skeleton.rglob("*.txt")):
        path = directory / _fill_in(str(source.relative_to(skeleton)).removesuffix(".txt"), words)
        path.parent.mkdir(mode=0o755, exist_ok=True)
        text = _fill_in(source.read_text(), words)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
        written.append(path)
    return written


def _fill_in(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
