"""What the README says to type works as it is written there."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str, heading: str) -> list[str]:
    """Return the code blocks of a section."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)


def test_the_tour_of_the_command_line_runs_line_by_line(tmp_path: Path) -> None:
    offline = [block for block in blocks("sh", "The command line") if "--dataset" not in block]
    assert len(offline) == 5
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    script = "set -e\n" + "\n".join(offline)
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 documents, sound" in done.stdout
    assert '"query": "which method compares token by token' in done.stdout
    assert '"id": "colbert"' in done.stdout
    assert "interaction  " in done.stdout.split("query ")[-1]
    assert "pylate.models.Dense" in (tmp_path / "my-colbert-for-pylate/modules.json").read_text()


def test_the_tour_of_the_python_names_runs(tmp_path: Path) -> None:
    (code,) = blocks("python", "Python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("faiss ")
