"""ColBERT checkpoints from one format to another: the same embeddings, or a line that says what would be lost."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import check_vacant, new_folder, resolved_target, sync_files
from .checkpoint import TASKS, Checkpoint, open_checkpoint
from .colbert.formats import limited
from .colbert.reading import ColbertReader
from .colbert.settings import ColbertSettings
from .colbert.writing.limits import PYLATE, SENTENCE_TRANSFORMERS, STANFORD, check_limits
from .colbert.writing.pylate import write_pylate
from .colbert.writing.sentence_transformers import write_multi_vector_encoder
from .colbert.writing.source import Source, read_source
from .colbert.writing.stanford import write_stanford
from .formats import find_format
from .reading import TOKENIZER, open_tokenizer

TRIED = (
    "",
    "one",
    " A blank before, and Capitals.",
    "What's this? 3.14 + (2 - x) = y_1; naïve café… [MASK]",
    "日本語の文書を検索する",
    "def f(x):\n    return x[0]\n",
)
"""Texts that a converted checkpoint must read as the original does, and a long one."""


@dataclass(frozen=True)
class Target:
    """A format that is written.

    Attributes:
        name: Its name in the table of formats that are read.
        write: Fills an empty folder.
    """

    name: str
    write: Callable[[Source, Path], None]


TARGETS = {
    SENTENCE_TRANSFORMERS: Target("sentence-transformers MultiVectorEncoder", write_multi_vector_encoder),
    PYLATE: Target("PyLate", write_pylate),
    STANFORD: Target("Stanford ColBERT", write_stanford),
}


def convert(source: str | Path, target: str | Path, format: str) -> Path:
    """Write a ColBERT in another format; its embeddings stay what they are.

    Weights are copied bit for bit. Texts are read as before, which is tried on some; only a text that has a marker
    spelled out in it may become other tokens, since formats differ in whether a tokenizer looks for markers in texts.
    A checkpoint that has the format already is copied.

    Args:
        source: A folder or a hub name, of any network of transformers with weights in safetensors and a
            `tokenizer.json`.
        target: A folder that does not exist or is empty; it appears whole or not at all.
        format: "sentence-transformers" (a MultiVectorEncoder), "pylate" or "stanford".

    Returns:
        The folder.

    Raises:
        InputError: There is no such format or checkpoint, it is a dense one, its files are damaged, the target holds
            something, or the checkpoint has something that the format cannot hold; the message names it.
    """
    if format not in TARGETS:
        raise InputError(f"unknown format {format!r}; expected one of {', '.join(TARGETS)}")
    folder = Path(target).expanduser()
    check_vacant(folder)
    checkpoint = open_checkpoint(source)
    if resolved_target(folder).is_relative_to(checkpoint.folder.resolve()):
        raise InputError(f"{folder}: lies within the checkpoint {checkpoint.folder}; name a folder outside of it")
    settings, name = _read(checkpoint)
    with new_folder(folder) as fresh:
        if name == TARGETS[format].name:
            _copy(checkpoint.folder, fresh)
        else:
            _write(checkpoint, settings, fresh, format)
        sync_files(fresh)
    return folder


def _read(checkpoint: Checkpoint) -> tuple[ColbertSettings, str]:
    form = find_format(checkpoint)
    if form.settings is None:
        raise InputError(
            f"{checkpoint.name}: a dense (single-vector) checkpoint; formats are those of multi-vector (ColBERT) ones"
        )
    return limited(form.settings(checkpoint), checkpoint, None), form.name


def _copy(source: Path, folder: Path) -> None:
    left = shutil.ignore_patterns(".*", "*.bin")
    shutil.copytree(source, folder, ignore=left, copy_function=shutil.copyfile, dirs_exist_ok=True)


def _write(checkpoint: Checkpoint, settings: ColbertSettings, folder: Path, form: str) -> None:
    if not (checkpoint.network_folder / TOKENIZER).is_file():
        raise InputError(
            f"{checkpoint.network_folder}: has no {TOKENIZER}, only a tokenizer that is no fast one; make one with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...) of transformers"
        )
    source = read_source(checkpoint, settings)
    check_limits(source, form)
    TARGETS[form].write(source, folder)
    written = open_checkpoint(folder)
    found, name = _read(written)
    if name != TARGETS[form].name:
        raise InputError(f"{checkpoint.name}: has settings that make a {name} of what is written as {form}")
    _check_vocabulary(source, written, form)
    for task in TASKS:
        _check_reading(source, written, found, task, form)


def _check_vocabulary(source: Source, written: Checkpoint, form: str) -> None:
    """Refuse a format in which a token's number changes: its row of the embedding table would be another's.

    Whatever number the tokenizer's file gives an added token, the tokenizers library counts on from the others.
    """
    expected = source.tokenizer.get_vocab() | {marker.token: marker.id for marker in source.added}
    found = open_tokenizer(written).get_vocab()
    names = {number: token for token, number in expected.items()}
    for token, number in sorted(expected.items(), key=lambda item: item[1]):
        other = found.get(token)
        if other != number:
            taken = f", the number of {names[other]!r}" if other in names else ""
            raise InputError(
                f"{source.checkpoint.name}: in the format {form} its tokenizer, which leaves numbers out, would have "
                f"{token!r} as {other}{taken}, not as {number}; choose a format that adds no marker to it"
            )


def _check_reading(source: Source, written: Checkpoint, found: ColbertSettings, task: str, form: str) -> None:
    """Refuse a format in which texts are read as other tokens."""
    texts = [*TRIED, "a word " * source.settings.lengths[task]]
    before = ColbertReader(source.checkpoint, source.settings, task).read(texts)
    after = ColbertReader(written, found, task).read(texts)
    ids = after.ids.copy()
    for marker in source.added:
        ids[ids == marker.id] = marker.copied
    attended = [tokens.lengths if tokens.attended is None else tokens.attended for tokens in (before, after)]
    pairs = ((before.ids, ids), (before.offsets, after.offsets), (before.kept, after.kept), attended)
    if not all(np.array_equal(one, other) for one, other in pairs):
        raise InputError(
            f"{source.checkpoint.name}: the tokenizer makes other tokens of the {task} marker and the text after it "
            f"when they are put together as in the format {form}; choose another format"
        )
