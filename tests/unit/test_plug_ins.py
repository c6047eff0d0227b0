"""What other packages in the environment bring does not run in the agent."""

import subprocess
import sys
from pathlib import Path


def test_a_plug_in_for_pydantic_is_not_loaded(tmp_path: Path) -> None:
    metadata = tmp_path / "trap-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: trap\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pydantic]\ntrap = trap:plug_in\n")
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w').close()\nplug_in = None\n")
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r}); import iot_jobs_agent.__main__, iot_jobs_agent.config.config"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not (tmp_path / "loaded").exists()
