"""Small collections in BEIR's layout, stand-ins for retrievers, and a server on 127.0.0.1."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

CORPUS = {"d1": "red apples", "d2": "green pears", "d3": "blue plums", "d4": "yellow lemons"}
QUERIES = {"q1": "apples", "q2": "pears", "q3": "not judged"}
QRELS = {"test": {"q1": {"d1": 2, "d3": 1}, "q2": {"d2": 1}}, "dev": {"q1": {"d1": 1}}}


@pytest.fixture
def real_data() -> Path:
    if not (DATA / "beir").is_dir():
        pytest.skip("no real collections beside this checkout")
    return DATA


@pytest.fixture
def make_beir() -> Callable[..., Path]:
    def make(
        folder: Path,
        corpus: dict[str, str] = CORPUS,
        queries: dict[str, str] = QUERIES,
        qrels: dict[str, dict[str, dict[str, int]]] = QRELS,
    ) -> Path:
        (folder / "qrels").mkdir(parents=True)
        for name, texts in (("corpus", corpus), ("queries", queries)):
            lines = (json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items())
            (folder / f"{name}.jsonl").write_text("".join(lines))
        for split, judged in qrels.items():
            rows = [f"{query}\t{doc}\t{grade}\n" for query, docs in judged.items() for doc, grade in docs.items()]
            (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
        return folder

    return make


@dataclass
class FakeEncoder:
    name: str = "fake/encoder"
    fingerprint: str = "f" * 32
    precision: str = "fp32"


@dataclass
class FakeRetriever:
    """Returns prepared lists by query text and counts how often it is asked."""

    results: dict[str, list[tuple[str, float]]]
    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    index: Sequence[str] = tuple(CORPUS)
    depths: list[int] = field(default_factory=list)

    def __enter__(self) -> "FakeRetriever":
        return self

    def __exit__(self, *failure: object) -> None:
        return

    def search_ids(self, queries: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
        self.depths.append(k)
        return [self.results.get(query, [])[:k] for query in queries]


@pytest.fixture
def fake_retriever() -> Callable[..., FakeRetriever]:
    return FakeRetriever


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    """Serve what a test puts into `answers`: path to status, body and announced length (None: the true one)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stand_in.asked.append(self.path)
            status, body, length = stand_in.answers.get(self.path, (404, b"<html>gone</html>", None))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in = SimpleNamespace(url=f"http://127.0.0.1:{httpd.server_address[1]}/sets/", answers={}, asked=[])
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield stand_in
    httpd.shutdown()
    httpd.server_close()
    thread.join()
