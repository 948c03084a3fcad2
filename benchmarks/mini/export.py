"""Makes the folder that ships of a trained mini model: bf16 weights, 512 tokens read, its card; and checks it.

    python benchmarks/mini/export.py MODEL... OUTPUT --card FILE [--length 512] [--texts FOLDER]

Several models (checkpoints of one run) are averaged. The folder must give the embeddings of the fp32 models' average
again, through `load_encoder` and through plain sentence-transformers.
"""

import argparse
import shutil
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from command import exit_code, positive

import modernir
from modernir.encoders.average import average
from modernir.encoders.loading import load_encoder
from modernir.errors import InputError
from modernir.files import new_folder, read_json, write_json
from modernir.retrieval.readers.documents import read_documents

SMALLEST_COSINE = 0.9995
TEXTS = Path(modernir.__file__).parent / "quickstart" / "scifact"
COUNT = 64


def export(models: list[str], output: Path, card: Path, length: int, texts: Path) -> None:
    """Write the folder and say what it weighs and how near it is.

    Raises:
        InputError: There is no card, the models cannot be averaged, or the folder's embeddings are not theirs; it is
            then removed.
    """
    if not card.is_file():
        raise InputError(f"{card}: no such file; --card names the model's card")
    sample = [document.content for document, _ in islice(read_documents(texts, empty="skip"), COUNT)]
    with tempfile.TemporaryDirectory() as scratch, new_folder(output) as folder:
        exact = average(models, Path(scratch) / "fp32", dtype="fp32")
        reads(exact, length)
        stored = average(models, Path(scratch) / "bf16", dtype="bf16")
        reads(stored, length)
        shutil.copy(card, stored / "README.md")
        here, there = nearest(exact, stored, sample)
        if min(here, there) < SMALLEST_COSINE:
            raise InputError(f"{output}: a cosine of {min(here, there):.5f} to fp32, below {SMALLEST_COSINE}")
        shutil.copytree(stored, folder, dirs_exist_ok=True)
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    said = f"smallest cosine to fp32 {here:.5f}, in sentence-transformers {there:.5f}"
    sys.stdout.write(f"{output}: {size / 1e6:.1f} MB; {said}\n")


def reads(folder: Path, length: int) -> None:
    """Set the tokens of a document that a model reads; how many of a query, it says already."""
    for name, key in (("sentence_bert_config.json", "document_length"), ("tokenizer_config.json", "model_max_length")):
        path = folder / name
        write_json(path, read_json(path) | {key: length})


def nearest(exact: Path, stored: Path, texts: list[str]) -> tuple[float, float]:
    """Return the smallest cosine of a text's or token's vectors of both folders: here, and in sentence-transformers."""
    encoder = load_encoder(exact, device="cpu", precision="fp32")
    wanted = values(encoder.encode_documents(texts))
    found = values(load_encoder(stored, device="cpu", precision="fp32").encode_documents(texts))
    return lowest(wanted, found), lowest(wanted, values(plain(stored).encode_document(texts)))


def plain(folder: Path) -> Any:  # noqa: ANN401 - one of two classes of sentence-transformers
    """Load a folder in sentence-transformers."""
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    late = read_json(folder / "config_sentence_transformers.json")["model_type"] == "MultiVectorEncoder"
    return (MultiVectorEncoder if late else SentenceTransformer)(str(folder), device="cpu")


def values(found: Any) -> np.ndarray:  # noqa: ANN401 - a matrix, or one for each text
    """Return all vectors of an encoding, (vectors, dim) float32."""
    return np.concatenate([np.atleast_2d(np.asarray(one, dtype=np.float32)) for one in found])


def lowest(one: np.ndarray, other: np.ndarray) -> float:
    """Return the smallest cosine of the vectors in the same rows, both of length one."""
    return float((one * other).sum(1).min())


def main() -> int:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("output", type=Path, metavar="OUTPUT")
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--length", type=positive, default=512)
    parser.add_argument("--texts", type=Path, default=TEXTS)
    return exit_code(lambda o: export(o.models, o.output, o.card, o.length, o.texts), parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
