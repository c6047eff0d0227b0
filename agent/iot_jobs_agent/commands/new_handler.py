"""`iot-jobs-agent new-handler`: writes a handler that works, with its tests, as a starting point for your own.

The skeletons are the files in `iot_jobs_agent/skeletons`, with `.txt` appended to their names; @NAME@ and @MODULE@ are
replaced.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.commands import options
from iot_jobs_agent.errors import AgentError
from iot_jobs_agent.handler import handler_name_problem

SKELETONS = Path(__file__).parents[1] / "skeletons"
NEXT: Mapping[str, str] = {
    "python": 'echo \'{{"text": "hello"}}\' | iot-jobs-agent try {module}:HANDLER -',
    "shell": "sh test.sh",
}


class SkeletonError(AgentError):
    """The skeleton cannot be written. The message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Write the files, and print what to try next. Return 0.

    Raises:
        SkeletonError: the directory is not empty or cannot be written; the exit status is then 1.
    """
    parser = options.parser("new-handler")
    parser.add_argument("name", metavar="NAME", help="what documents call it: A-Z a-z 0-9 _ . -, at most 64")
    parser.add_argument("directory", metavar="DIR", nargs="?", type=Path, help="default: ./NAME; must be new or empty")
    parser.add_argument("--language", choices=sorted(NEXT), default="python", help="default: %(default)s")
    chosen = parser.parse_intermixed_args(arguments)  # NAME --language shell DIR
    if problem := handler_name_problem(chosen.name):
        parser.error(f"{chosen.name!r} {problem}")
    if chosen.name in BUILT_INS:
        parser.error(f"{chosen.name} is built in: choose another name")
    directory = chosen.directory or Path(chosen.name)
    module = "handler_" + re.sub(r"[.-]", "_", chosen.name)
    try:
        written = _write(directory, SKELETONS / chosen.language, {"@NAME@": chosen.name, "@MODULE@": module})
    except OSError as error:
        raise SkeletonError(f"{error.filename}: cannot be written ({(error.strerror or 'unknown').lower()})") from None
    for path in written:
        print(path)
    print(f"\nTry it:  cd {directory} && {NEXT[chosen.language].format(module=module)}")
    return 0


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
