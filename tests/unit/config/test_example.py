"""config.example.toml shows values in the way that its first lines say."""

import re
from pathlib import Path

from iot_jobs_handlers.download_file import MAX_MB
from iot_jobs_handlers.packages import LOCK_TIMEOUT_S
from iot_jobs_handlers.services import SETTLE_S

EXAMPLE = (Path(__file__).parents[3] / "config.example.toml").read_text()
DEFAULTS = {"max_mb": MAX_MB, "lock_timeout_s": LOCK_TIMEOUT_S, "settle_s": SETTLE_S}


def test_every_number_that_a_built_ins_table_comments_out_is_its_default() -> None:
    tables = EXAMPLE[EXAMPLE.index("[handler.run-command]") :]
    shown = re.findall(r"^# ([a-z_]+) = ([0-9.]+)$", tables, re.MULTILINE)
    assert {key for key, _ in shown} == DEFAULTS.keys()
    assert {key: float(value) for key, value in shown} == DEFAULTS
