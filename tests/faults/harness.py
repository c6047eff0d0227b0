"""What every fault harness is given and gives back, so that one command runs and counts them all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How to run. `is_full`: everything, however long; otherwise a seeded sample within a few minutes.

    `replay` is what a violation printed as its reproduction: run that alone. `scratch` is an empty directory.
    """

    scratch: Path
    seed: int
    is_full: bool = False
    replay: str = ""


@dataclass(frozen=True)
class Report:
    """What a harness did. `counts` are figures by name, `controls` the known-bad things it must catch, by name.

    A violation is one line: the fault's id, the invariant (D O T S L R X P A B W), what was seen, and `--replay TEXT`.
    """

    counts: Mapping[str, int]
    violations: tuple[str, ...] = ()
    controls: Mapping[str, bool] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """True if nothing was violated and the harness has shown that it could have seen it."""
        return not self.violations and bool(self.controls) and all(self.controls.values())
