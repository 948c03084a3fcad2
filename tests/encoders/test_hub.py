"""A hub name is resolved by the real download code, here against a stand-in hub on 127.0.0.1."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROGRAM = """
import sys, modernir
try:
    encoder = modernir.load_encoder(sys.argv[1], device="cpu", precision="fp32")
    print(encoder.name, encoder.dim, encoder.fingerprint)
except modernir.InputError as error:
    print("refused:", error)
"""


@pytest.fixture
def hub(make_checkpoint: Callable[..., Path]) -> Iterator[str]:
    """The address of a hub that holds one model, sentence-transformers/tiny."""
    folder = make_checkpoint()
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}

    class Hub(BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if "sentence-transformers/tiny" not in path:
                self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif path.startswith("/api/models/") and "/tree/" in path:
                rows = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                    for name, file in files.items()
                ]
                self.answer(200, json.dumps(rows).encode(), {"Content-Type": "application/json"})
            elif path.startswith("/api/models/"):
                siblings = [{"rfilename": name} for name in files]
                info = {"id": "sentence-transformers/tiny", "sha": COMMIT, "siblings": siblings}
                self.answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
            else:
                body = files[path.split(f"/resolve/{COMMIT}/")[1]].read_bytes()
                etag = hashlib.sha256(body).hexdigest()
                self.answer(200, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

        do_HEAD = do_GET

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def load(name: str, endpoint: str, home: Path) -> str:
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", PROGRAM, name]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_model_is_downloaded_once_by_its_full_or_short_name(hub: str, tmp_path: Path) -> None:
    first = load("sentence-transformers/tiny", hub, tmp_path)
    assert first.split()[:2] == ["sentence-transformers/tiny", "32"]
    unreachable = "http://127.0.0.1:9"
    again = load("tiny", unreachable, tmp_path)
    assert again.split()[1:] == first.split()[1:]


def test_a_model_that_the_hub_does_not_hold_is_refused(hub: str, tmp_path: Path) -> None:
    answer = load("owner/unknown", hub, tmp_path)
    assert answer.startswith("refused: owner/unknown: neither a folder here nor a model on the hub")
    assert answer.count("\n") == 1
