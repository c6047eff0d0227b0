"""`uv run python -m tests.member_coverage` writes docs/simulator-coverage.md; fails if what is served has no vector."""

import sys

import pytest
from tests.member_coverage import page
from tests.member_coverage.probe import probed
from tests.member_coverage.recorder import ABOUT_EVERYTHING, Recorder
from tests.support.files import ROOT

TESTS = ROOT / "tests/unit/simulator"
recorder = Recorder()
ignored = f"--ignore={TESTS / f'{ABOUT_EVERYTHING}.py'}"
status = pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider", ignored, str(TESTS)], [recorder])
if not recorder.tests:
    sys.exit(int(status))
rows = list(page.rows(probed(), recorder.vector))
page.PAGE.write_text(page.written(rows))
without = [" ".join(member) for member, row in rows if row.served == page.SERVED and not row.vector]
sys.stdout.write("\n".join([f"{len(rows)} members; served, and without a vector: {len(without)}", *without, ""]))
sys.exit(bool(without))
