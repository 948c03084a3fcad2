"""From a name to an encoder: the format of the checkpoint, and the loaders that may run it, each walked in order."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from ..errors import InputError
from .checkpoint import Checkpoint, open_checkpoint
from .colbert import ColbertEncoder
from .colbert.formats import limited
from .colbert.settings import ColbertSettings, LateOptions
from .dense import DenseEncoder
from .formats import find_format
from .tokens import ROW_TYPES
from .two_towers import Tower, TwoTowers, common_precision, read_towers

if TYPE_CHECKING:
    import torch

E = TypeVar("E")
KINDS = {"dense": "a dense (single-vector)", "late": "a multi-vector (ColBERT)"}
"""Kinds of encoders, as messages name their checkpoints."""


@overload
def load_encoder(
    name_or_path: str | Path,
    device: str | None = None,
    precision: str | None = None,
    trust_remote_code: bool = False,
    attention: str | None = None,
    preferred: str | None = None,
    *,
    kind: Literal["dense"],
) -> DenseEncoder: ...


@overload
def load_encoder(
    name_or_path: str | Path,
    device: str | None = None,
    precision: str | None = None,
    trust_remote_code: bool = False,
    attention: str | None = None,
    preferred: str | None = None,
    *,
    kind: Literal["late"],
    pool_factor: float | None = None,
    document_length: int | None = None,
    overlap: int | None = None,
    row_type: str = "float32",
) -> ColbertEncoder: ...


@overload
def load_encoder(
    name_or_path: str | Path,
    device: str | None = None,
    precision: str | None = None,
    trust_remote_code: bool = False,
    attention: str | None = None,
    preferred: str | None = None,
    *,
    kind: None = None,
    pool_factor: float | None = None,
    document_length: int | None = None,
    overlap: int | None = None,
    row_type: str = "float32",
) -> DenseEncoder | ColbertEncoder: ...


def load_encoder(
    name_or_path: str | Path,
    device: str | None = None,
    precision: str | None = None,
    trust_remote_code: bool = False,
    attention: str | None = None,
    preferred: str | None = None,
    *,
    kind: Literal["dense", "late"] | None = None,
    pool_factor: float | None = None,
    document_length: int | None = None,
    overlap: int | None = None,
    row_type: str = "float32",
) -> DenseEncoder | ColbertEncoder:
    """Load an encoder; prompts, markers, lengths and what follows the network come from the checkpoint.

    Args:
        name_or_path: A folder or a hub name: a dense or multi-vector checkpoint of sentence-transformers, a ColBERT of
            PyLate or Stanford, or a bare network such as a ModernBERT, which gets mean pooling.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes the best there is.
        precision: "fp32", "bf16", "fp16" or, for ModernBERT on a CPU, "int8"; None takes the fastest that keeps
            retrieval quality.
        trust_remote_code: Run Python code that the checkpoint brings. Never on by itself.
        attention: Name of an attention back-end, see `modernir doctor`, for a ModernBERT that runs on this package's
            network; None takes the best there is.
        preferred: Precision to take where none is asked for, if the model and the device have it.
        kind: Refuse a checkpoint that is not "dense" (single-vector) or not "late" (multi-vector).
        pool_factor: Merge like tokens of each document until one vector stands for so many, at least 1, in place of
            what a multi-vector checkpoint says; None leaves it at that.
        document_length: Tokens to read of a document at once, in place of what a multi-vector checkpoint says.
        overlap: Read what is longer as windows of that length which share at least so many tokens with their
            neighbours, see `encoders.colbert.windows`; None cuts it, as the libraries that write checkpoints do. Every
            window has the prompt, the marker and the special tokens that a document has. A token of the text gets its
            vector from the window in whose middle it lies most, the tokens before the text from the first window, and
            the special tokens after it from the last. Only for networks that this package runs itself.
        row_type: "float32", "float16" or "int8", in what a multi-vector encoder returns the rows of documents; see
            `TokenMatrix`.

    Raises:
        InputError: There is no such model, it is no encoder or not of the kind asked for, it is a ModernBERT with
            settings or weights that this package does not run, the device or precision is not to be had, or a setting
            of multi-vector models is given for another or makes no sense.
    """
    checkpoint = open_checkpoint(name_or_path)
    form = find_format(checkpoint)
    found = "dense" if form.settings is None else "late"
    if kind not in (None, found):
        raise InputError(f"{checkpoint.name}: {KINDS[found]} checkpoint, where {KINDS[kind]} one was expected")
    asked = LateOptions(pool_factor, document_length, overlap, row_type)
    if found == "dense" and asked != LateOptions():
        names = [name for name, value in vars(asked).items() if value != getattr(LateOptions, name)]
        verb = "is" if len(names) == 1 else "are"
        raise InputError(f"{checkpoint.name}: a dense model; {' and '.join(names)} {verb} for multi-vector ones")

    from .precision import resolve_device

    place = resolve_device(device)
    if precision is None and preferred is not None and _has(checkpoint, place, preferred, attention):
        precision = preferred
    how = _How(place, precision, trust_remote_code, attention)
    if form.settings is None:
        return _dense(checkpoint, how)
    return _late(checkpoint, form.settings, how, asked)


@dataclass(frozen=True)
class _How:
    """How to load a checkpoint, as it was asked for."""

    device: "torch.device"
    precision: str | None
    trust_remote_code: bool
    attention: str | None


def _has(checkpoint: Checkpoint, device: "torch.device", precision: str, attention: str | None) -> bool:
    towers = read_towers(checkpoint)
    if towers is not None:
        return all(_has(tower.checkpoint, device, precision, attention) for tower in towers.values())

    from .networks import find_kind
    from .precision import multiplies

    kind = find_kind(checkpoint.config, checkpoint.network_folder / "config.json")
    # fp16 is never chosen by itself, yet runs on every GPU
    own = (*kind.precisions(checkpoint.config, device, attention), "fp16") if kind else ("fp32", "bf16", "fp16")
    return precision in own and multiplies(precision, device)


def _dense(checkpoint: Checkpoint, how: _How) -> DenseEncoder:
    towers = read_towers(checkpoint)
    if towers is not None:
        return _two_towers(checkpoint, towers, how)
    from .packed import load_packed

    def through_sentence_transformers() -> DenseEncoder:
        precision = _foreign_precision(checkpoint, how)
        from .sentence_transformer import SentenceTransformerEncoder

        return SentenceTransformerEncoder(checkpoint, how.device, precision, how.trust_remote_code)

    return _first_that_loads(
        (
            lambda: load_packed(checkpoint, how.device, how.precision, how.attention),
            through_sentence_transformers,
        )
    )


def _two_towers(checkpoint: Checkpoint, towers: Mapping[str, Tower], how: _How) -> DenseEncoder:
    """Load each tower on this package's networks where it can be; sentence-transformers loads the others once."""
    from .packed import load_packed

    precision = common_precision(towers, how.device, how.precision, how.attention)
    loaded: dict[str, DenseEncoder] = {}
    model = None
    for task, tower in towers.items():
        encoder = load_packed(tower.checkpoint, how.device, precision, how.attention)
        if encoder is None:
            from .sentence_transformer import SentenceTransformerEncoder

            _foreign_precision(checkpoint, replace(how, precision=precision))
            remote, place = how.trust_remote_code, (task, tower.route)
            foreign = SentenceTransformerEncoder(tower.checkpoint, how.device, precision, remote, place, model)
            model, encoder = foreign.model, foreign
        loaded[task] = encoder
    return TwoTowers(checkpoint, loaded)


def _late(
    checkpoint: Checkpoint,
    read: Callable[[Checkpoint], ColbertSettings],
    how: _How,
    asked: LateOptions,
) -> ColbertEncoder:
    from .colbert.packed import load_packed_colbert

    _check(asked)
    settings = limited(read(checkpoint), checkpoint, asked.document_length)

    def through_sentence_transformers() -> ColbertEncoder:
        precision = _foreign_precision(checkpoint, how)
        if asked.overlap is not None:
            raise InputError(
                f"{checkpoint.name}: runs through sentence-transformers, which cuts long documents; leave overlap out, "
                "which is for ColBERTs on a ModernBERT or BERT that this package runs itself"
            )
        from .colbert.sentence_transformer import MultiVectorModelEncoder

        return MultiVectorModelEncoder(checkpoint, settings, how.device, precision, how.trust_remote_code, asked)

    return _first_that_loads(
        (
            lambda: load_packed_colbert(checkpoint, settings, how.device, how.precision, how.attention, asked),
            through_sentence_transformers,
        )
    )


def _check(asked: LateOptions) -> None:
    factor = asked.pool_factor
    if factor is not None and not (type(factor) is not bool and isinstance(factor, (int, float)) and 1 <= factor < inf):
        raise InputError(f"pool_factor is {factor!r}; expected a number of at least 1, and a finite one")
    for name, least in (("document_length", 1), ("overlap", 0)):
        value = getattr(asked, name)
        if value is not None and not (type(value) is int and value >= least):
            raise InputError(f"{name} is {value!r}; expected a whole number of at least {least}")
    if asked.row_type not in ROW_TYPES:
        raise InputError(f"row_type is {asked.row_type!r}; expected one of {', '.join(ROW_TYPES)}")


def _foreign_precision(checkpoint: Checkpoint, how: _How) -> str:
    from .precision import resolve_precision

    if how.precision == "int8" or how.attention is not None:
        asked = "int8" if how.precision == "int8" else f"the attention back-end {how.attention!r}"
        raise InputError(f"{checkpoint.name}: not a ModernBERT that this package runs itself; leave {asked} out")
    return resolve_precision(how.precision, how.device)


def _first_that_loads(loaders: Iterable[Callable[[], E | None]]) -> E:
    return next(encoder for load in loaders if (encoder := load()) is not None)
