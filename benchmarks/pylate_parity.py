"""Compare token embeddings with PyLate's, folder by folder, in both directions: largest differences, in a table.

    pip install -e ".[test]"
    python benchmarks/pylate_parity.py --venv PYLATE_ENVIRONMENT

PyLate's pins exclude ours, so it runs in an environment of its own: where the folder holds none, it is made, with
`pip install pylate==1.6.0`. PyLate saves ColBERTs on all-MiniLM-L6-v2 (word pieces) and on a ModernBERT with random
weights (bytes), each with a random projection, for every way of expanding queries. They are read here, converted to
sentence-transformers' format and read again, converted from that to PyLate's and to Stanford's formats, and read by
PyLate. Embeddings of queries and documents are compared with those that PyLate computed when it saved. Float32 on the
CPU. Ends with code 1 where any differ by more than 1e-5.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from command import exit_code
from transformers import ModernBertConfig, ModernBertModel

from modernir import convert, load_encoder
from modernir.encoders.bundled import bundled_folder
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.errors import InputError, ModernirError

RELEASE = "1.6.0"
TOLERANCE = 1e-5
DIM = 128
CHILD = Path(__file__).parent / "peers" / "pylate_tokens.py"
SENTENCE = "late interaction keeps a vector for each token of a document, and matches every token of the query "
TEXTS = (
    "What is late interaction?",
    "def search(query: str) -> list[int]:\n    return index.best(query)[:10]",
    'Hello, world! (punctuation...) -- "quoted" [MASK] it\'s 3.14% & more; a_b_c',
    "naïve café, 日本語のテキスト, Ελληνικά, emoji 🙂",
    "",
    "?!",
    *((SENTENCE * 20)[start:end] for start, end in ((0, 30), (5, 200), (17, 420), (0, 1900))),
)
BASE = {"embedding_size": DIM, "query_length": 32, "document_length": 120}
EXPANSIONS: dict[str, dict[str, object]] = {
    "fixed, not attended": {},
    "fixed, attended": {"attend_to_expansion_tokens": True},
    "none": {"do_query_expansion": False},
    "fixed, no skiplist, no markers": {"skiplist_words": [], "query_prefix": "", "document_prefix": ""},
}
NAMES = {"pylate": "PyLate", "stanford": "Stanford"}
HEADER = f"{'network':10} {'expansion':31} {'what':45} {'queries':>9} {'documents':>9}"


@dataclass(frozen=True)
class Embeddings:
    """Token embeddings of all texts.

    Attributes:
        query, document: (tokens, dim) float32, end to end.
        query_tokens, document_tokens: (texts,) tokens of each text.
    """

    query: np.ndarray
    document: np.ndarray
    query_tokens: np.ndarray
    document_tokens: np.ndarray

    def differences(self, other: "Embeddings") -> tuple[float, float]:
        """Return the largest of queries and of documents; without bound where they differ in number."""
        return _largest(self.query, other.query, self.query_tokens, other.query_tokens), _largest(
            self.document, other.document, self.document_tokens, other.document_tokens
        )


def _largest(one: np.ndarray, other: np.ndarray, tokens: np.ndarray, others: np.ndarray) -> float:
    return float(np.abs(one - other).max()) if np.array_equal(tokens, others) else float("inf")


@dataclass(frozen=True)
class Row:
    """One comparison."""

    network: str
    expansion: str
    what: str
    queries: float
    documents: float

    def __str__(self) -> str:
        names = f"{self.network:10} {self.expansion:31} {self.what:45}"
        return f"{names} {self.queries:9.1e} {self.documents:9.1e}"


class PyLate:
    """PyLate in an environment of its own.

    Args:
        folder: The environment, or where it is made.

    Raises:
        InputError: It cannot be made, or does not have the release.
    """

    def __init__(self, folder: Path) -> None:
        self._python = folder / "bin" / "python"
        if not self._python.exists():
            _run([sys.executable, "-m", "venv", str(folder)])
            _run([str(self._python), "-m", "pip", "install", "--quiet", f"pylate=={RELEASE}"])
        asked = "import importlib.metadata as m; print(m.version('pylate'))"
        found = _run([str(self._python), "-c", asked]).strip()
        if found != RELEASE:
            raise InputError(f"{folder}: has pylate {found}; expected {RELEASE}")

    def embeddings(self, jobs: Sequence["Job"], work: Path) -> list[Embeddings]:
        """Do jobs in one process and return the embeddings of `TEXTS`."""
        files = [work / f"{number}.npz" for number in range(len(jobs))]
        fields = [
            {"load": str(job.load), "save": str(job.save) if job.save else None, "settings": job.settings, "seed": 5}
            | {"output": str(file)}
            for job, file in zip(jobs, files, strict=True)
        ]
        (work / "jobs.json").write_text(json.dumps({"texts": TEXTS, "jobs": fields}), encoding="utf-8")
        _run([str(self._python), str(CHILD), str(work / "jobs.json")])
        return [Embeddings(**np.load(file)) for file in files]


@dataclass(frozen=True)
class Job:
    """A ColBERT that PyLate loads.

    Attributes:
        load: Its folder.
        save: Where PyLate saves it, or None.
        settings: Of `ColBERT`.
    """

    load: Path
    save: Path | None
    settings: dict[str, object]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise InputError(f"{' '.join(command)}: ended with code {done.returncode}: {' '.join(last)}")
    return done.stdout


def here(folder: Path) -> Embeddings:
    """Encode `TEXTS` with the encoder of this package."""
    encoder = load_encoder(folder, device="cpu", precision="fp32", kind="late")
    query, document = encoder.encode_queries(TEXTS), encoder.encode_documents(TEXTS)
    return Embeddings(query.values, document.values, query.lengths, document.lengths)


def modernbert(folder: Path) -> Path:
    """Save a ModernBERT with random weights and a tokenizer of bytes, with windows that texts are longer than."""
    tokenizer = train_tokenizer(TEXTS, 512)
    roles = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "cls", "sep")}
    roles |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    sizes = {"hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = ModernBertConfig(**sizes, **roles, vocab_size=len(tokenizer), local_attention=32, initializer_range=0.05)
    ModernBertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def compare(pylate: PyLate, work: Path) -> Iterator[Row]:
    """Yield the comparisons of every network and expansion."""
    minilm = bundled_folder("all-MiniLM-L6-v2")
    assert minilm is not None
    networks = {"bert": minilm, "modernbert": modernbert(work / "modernbert")}
    saved = {(network, name): work / f"{network}, {name}" for network in networks for name in EXPANSIONS}
    jobs = [Job(networks[network], folder, {**BASE, **EXPANSIONS[name]}) for (network, name), folder in saved.items()]
    theirs = dict(zip(saved, pylate.embeddings(jobs, work), strict=True))
    between = {}
    for key, folder in saved.items():
        yield Row(*key, "PyLate saved, modernir reads", *theirs[key].differences(here(folder)))
        between[key] = convert(folder, work / "sentence-transformers" / folder.name, "sentence-transformers")
        yield Row(*key, "as sentence-transformers', modernir reads", *theirs[key].differences(here(between[key])))
    back = [(key, form, folder) for key, folder in between.items() for form in NAMES]
    written = [(key, form, place) for key, form, folder in back if (place := _written(folder, form, work))]
    found = pylate.embeddings([Job(place, None, {}) for _, _, place in written], work)
    for (key, form, _), embeddings in zip(written, found, strict=True):
        yield Row(*key, f"from that as {NAMES[form]}'s, PyLate reads", *theirs[key].differences(embeddings))


def _written(folder: Path, form: str, work: Path) -> Path | None:
    """Convert a checkpoint, or return None where the format cannot hold it."""
    try:
        return convert(folder, work / form / folder.name, form)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return None


def run(options: argparse.Namespace) -> None:
    """Print the table.

    Raises:
        ModernirError: Something differs by more than the tolerance.
    """
    pylate = PyLate(options.venv)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        sys.stdout.write(f"{HEADER}\n")
        for row in compare(pylate, Path(folder)):
            rows.append(row)
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
    worst = max(max(row.queries, row.documents) for row in rows)
    if not worst <= TOLERANCE:
        raise ModernirError(f"embeddings differ by {worst:.1e}, more than {TOLERANCE:g}")


def main() -> int:
    """Read the command line and run; return the process's exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--venv", type=Path, required=True, help="environment of PyLate, made where there is none")
    return exit_code(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
