"""What all tests share: no network, a tiny random encoder, a tiny collection, the command line as a process."""

import io
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest

import modernir

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

CORPUS = {
    "d1": ("Apples", "Red apples grow on old trees in the garden."),
    "d2": ("Pears", "Green pears are sweet and soft in autumn."),
    "d3": ("Plums", "Blue plums are dried in the sun and kept for winter."),
    "d4": ("Lemons", "Yellow lemons are sour; sailors ate them against scurvy."),
    "d5": ("", "Bread is baked from flour, water, salt and yeast."),
    "d6": ("Ships", "A ship with three masts crosses the sea in forty days."),
}
QUERIES = {"q1": "red apples in the garden", "q2": "sour lemons against scurvy", "q3": "a ship crosses the sea"}
QRELS = {"q1": {"d1": 1}, "q2": {"d4": 2, "d2": 0}, "q3": {"d6": 1}}


def pytest_configure() -> None:
    """Forget compiled kernels that are older than what they are built with, which numba's cache does not look at."""
    package = Path(modernir.__file__).parent
    folders = {
        package / "jit",
        package / "encoders" / "modernbert" / "cpu",
        package / "index" / "late" / "kernels",
        package / "maxsim",
    }
    newest = max(file.stat().st_mtime for folder in folders for file in folder.glob("*.py"))
    for cached in (cached for folder in folders for cached in folder.glob("__pycache__/*.nbi")):
        with suppress(FileNotFoundError):  # another run of the tests was first
            if cached.stat().st_mtime < newest:
                cached.unlink()


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    """Run the command line in this process; returns code, stdout and stderr."""

    def run(*args: object, stdin: str = "") -> SimpleNamespace:
        from modernir import cli

        monkeypatch.setattr(sys, "argv", ["modernir", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code or 0
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, stdout=captured.out, stderr=captured.err)

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not data.is_dir():
        pytest.skip("no real collections beside this checkout")
    return data


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a BERT of random weights, saved by sentence-transformers itself."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-model")
    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator([f"{title} {text}" for title, text in CORPUS.values()], vocab_size=300)
    pieces.save(str(folder / "pieces.json"))
    tokenizer = BertTokenizerFast(tokenizer_file=str(folder / "pieces.json"), model_max_length=64)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=pieces.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "network")
    tokenizer.save_pretrained(folder / "network")
    transformer = Transformer(str(folder / "network"), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(32, "mean"), Normalize()], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="session")
def other_tiny_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny model with its weights negated, as another state of training would be: another fingerprint."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("other-model") / "other"
    shutil.copytree(tiny_model, folder)
    weights = next(folder.rglob("*.safetensors"))
    save_file({name: -tensor for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def tiny_colbert(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tiny model as a ColBERT of 16 dimensions, saved by sentence-transformers itself."""
    import string

    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    folder = tmp_path_factory.mktemp("tiny-colbert") / "model"
    expansion = {"strategy": "fixed", "attend": False, "length": 16}
    transformer = Transformer(str(tiny_model), document_length=48, query_expansion=expansion)
    torch.manual_seed(1)
    on_tokens = {"module_input_name": "token_embeddings"}
    projection = Dense(32, 16, bias=False, activation_function=torch.nn.Identity(), **on_tokens)
    modules = [transformer, projection, MultiVectorMask(list(string.punctuation)), Normalize(**on_tokens)]
    MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture
def tiny_beir(tmp_path: Path) -> Path:
    folder = tmp_path / "fruit"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": key, "title": title, "text": text} for key, (title, text) in CORPUS.items()]
    queries = [{"_id": key, "text": text} for key, text in QUERIES.items()]
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", queries)
    rows = [f"{query}\t{doc}\t{grade}\n" for query, docs in QRELS.items() for doc, grade in docs.items()]
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return folder


def write_jsonl(path: Path, rows: Sequence[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def jsonl() -> Callable[[Path, Sequence[dict]], Path]:
    return write_jsonl


class HashEncoder:
    """Stands in for an encoder: a text's vector is drawn from a generator seeded with the text; counts what it saw."""

    def __init__(self, name: str = "hash", dim: int = 8, block_size: int = 10) -> None:
        self.name = name
        self.dim = dim
        self.block_size = block_size
        self.similarity = "cosine"
        self.precision = "fp32"
        self.max_length = 64
        self.query_prompt = self.document_prompt = ""
        self.fingerprint = f"{zlib.crc32(name.encode()):032x}"
        self.seen: list[str] = []
        self.fail_after: int | None = None
        self.failure: BaseException = KeyboardInterrupt()

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        if self.fail_after is not None and len(self.seen) + len(texts) > self.fail_after:
            raise self.failure
        self.seen += texts
        return self.encode_queries(texts)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dim) for text in texts]
        return np.asarray(rows, np.float32).reshape(len(texts), self.dim)


@pytest.fixture
def hash_encoder() -> type[HashEncoder]:
    return HashEncoder


def environment() -> dict[str, str]:
    return os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., SimpleNamespace]:
    """Run `python -m modernir` in a process of its own; returns code, stdout and stderr."""

    def run(
        *args: object, stdin: str | bytes = "", prelude: str | None = None, cwd: Path | None = None
    ) -> SimpleNamespace:
        command = ["-m", "modernir"]
        if prelude is not None:  # code that runs first in the process, to bend what it stands on
            command = ["-c", f"{prelude}\nfrom modernir.cli import main\nmain()"]
        given = stdin.encode() if isinstance(stdin, str) else stdin
        arguments = [argument if isinstance(argument, bytes) else str(argument) for argument in args]
        done = subprocess.run(
            [sys.executable, *command, *arguments],
            input=given,
            capture_output=True,
            env=environment(),
            cwd=cwd,
            timeout=120,
            check=False,
        )
        return SimpleNamespace(code=done.returncode, stdout=done.stdout.decode(), stderr=done.stderr.decode())

    return run


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores them, and so do its children


@pytest.fixture(scope="session")
def start_python() -> Callable[..., subprocess.Popen[str]]:
    """Start a Python program with arguments and more of an environment; its three streams are pipes."""

    def start(program: str, *args: object, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment() | variables,
            preexec_fn=_hear_interrupts,
        )

    return start


HUB_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StandInHub(BaseHTTPRequestHandler):
    """Answers what the hub's clients ask for one repository of models or data, file ranges included."""

    repository: str
    files: Mapping[str, bytes]
    cuts: Mapping[str, int]
    asked: list[str]

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.asked.append(" ".join(filter(None, (self.command, path, self.headers.get("Range")))))
        if self.repository not in path:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif "/tree/" in path:
            self.answer_json([self.entry(name) for name in self.files])
        elif path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in self.files]
            self.answer_json({"id": self.repository, "sha": HUB_COMMIT, "private": False, "siblings": siblings})
        else:
            self.answer_file(path.split("/resolve/")[1].split("/", 1)[1])

    do_HEAD = do_GET

    def entry(self, name: str) -> dict:
        return {"type": "file", "path": name, "size": len(self.files[name]), "oid": "0" * 40}

    def answer_file(self, name: str) -> None:
        if name not in self.files:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        body = self.files[name]
        headers = {"ETag": f'"{zlib.crc32(body):064x}"', "X-Repo-Commit": HUB_COMMIT, "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        cut = self.cuts.get(name, len(body))
        if not asked:
            self.answer(200, body, headers, cut)
            return
        first, last = asked.removeprefix("bytes=").split("-")
        end = min(int(last or len(body)) + 1, len(body))
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
        self.answer(206, body[int(first) : end], headers, max(cut - int(first), 0))

    def answer_json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, body: bytes, headers: Mapping[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def serve_hub() -> Iterator[Callable[..., str]]:
    """Serve a repository from 127.0.0.1 and return the address of that hub.

    A connection breaks off at the byte that `cuts` names for a file, and `asked` gathers what was asked for.
    """
    servers: list[ThreadingHTTPServer] = []

    def serve(
        repository: str,
        files: Mapping[str, bytes],
        cuts: Mapping[str, int] | None = None,
        asked: list[str] | None = None,
    ) -> str:
        fields = {"repository": repository, "files": files, "cuts": {} if cuts is None else cuts}
        handler = type("Hub", (StandInHub,), fields | {"asked": [] if asked is None else asked})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()


@pytest.fixture
def run_with_hub(tmp_path: Path) -> Callable[..., str]:
    """Run a Python program that sees a hub at an address and an empty cache, and return what it prints."""

    def run(address: str, program: str, *arguments: str) -> str:
        hub = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub-cache"), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, env=environment() | hub, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
