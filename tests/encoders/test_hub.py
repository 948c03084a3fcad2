"""A hub name is resolved by the real download code, here against a stand-in hub on 127.0.0.1."""

from collections.abc import Callable
from pathlib import Path

PROGRAM = """
import sys, modernir
try:
    encoder = modernir.load_encoder(sys.argv[1], device="cpu", precision="fp32")
    print(encoder.name, encoder.dim, encoder.fingerprint)
except modernir.InputError as error:
    print("refused:", error)
"""
UNREACHABLE = "http://127.0.0.1:9"
Serve = Callable[[str, dict[str, bytes]], str]
Run = Callable[..., str]


def test_a_model_is_downloaded_once_by_its_full_or_short_name(
    make_checkpoint: Callable[..., Path], serve_hub: Serve, run_with_hub: Run
) -> None:
    folder = make_checkpoint()
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    address = serve_hub("sentence-transformers/tiny", files)
    first = run_with_hub(address, PROGRAM, "sentence-transformers/tiny")
    assert first.split()[:2] == ["sentence-transformers/tiny", "32"]
    again = run_with_hub(UNREACHABLE, PROGRAM, "tiny")
    assert again.split()[1:] == first.split()[1:]


def test_a_model_that_the_hub_does_not_hold_is_refused(serve_hub: Serve, run_with_hub: Run) -> None:
    answer = run_with_hub(serve_hub("owner/other", {}), PROGRAM, "owner/unknown")
    assert answer.startswith("refused: owner/unknown: neither a folder here nor a model on the hub")
    assert answer.count("\n") == 1
