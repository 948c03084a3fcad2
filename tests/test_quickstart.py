"""The quickstart does the main job with what ships, reaches the figure, and does nothing twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modernir.quickstart import SCIFACT
from modernir.retrieval.readers.beir import BeirFolder
from modernir.retrieval.readers.rows import numbered_lines

EXPECTED_NDCG = 0.727


def run_quickstart(output: Path) -> subprocess.CompletedProcess[str]:
    """Run it with every way out of the machine closed."""
    closed = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "modernir", "quickstart", "--output", str(output)]
    return subprocess.run(command, env=os.environ | closed, capture_output=True, text=True, check=False)


def test_quickstart_reaches_its_figure_and_does_nothing_twice(tmp_path: Path) -> None:
    first = run_quickstart(tmp_path / "out")
    assert first.returncode == 0, first.stderr
    report = json.loads((tmp_path / "out" / "scifact" / "report.json").read_text())
    assert report["metrics"]["nDCG@10"] == pytest.approx(EXPECTED_NDCG, abs=0.003)
    assert report["counts"]["documents"] == 5183
    assert f"{report['metrics']['nDCG@10']:.4f}" in first.stdout
    assert "published" in first.stdout
    assert "In-domain" in first.stdout

    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*") if file.is_file()}
    second = run_quickstart(tmp_path / "out")
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout
    assert "docs/s" not in second.stderr
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*") if file.is_file()} == files


def test_what_ships_is_small_and_carries_its_attribution() -> None:
    assert sum(file.stat().st_size for file in SCIFACT.rglob("*") if file.is_file()) <= 3_500_000
    assert "CC BY 4.0" in (SCIFACT / "ATTRIBUTION.md").read_text()


def test_what_ships_is_scifact_unchanged(shared_data: Path) -> None:
    original = shared_data / "beir" / "scifact"
    for name in ("corpus.jsonl", "queries.jsonl"):
        shipped = numbered_lines(SCIFACT / f"{name}.zst")
        assert list(shipped) == list(numbered_lines(original / name))
    for split in ("train", "test"):
        assert BeirFolder(SCIFACT).qrels(split) == BeirFolder(original).qrels(split)
