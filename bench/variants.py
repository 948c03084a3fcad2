"""What is measured: this package's encoder in each precision, and sentence-transformers beside it.

A variant is a function that a worker process calls to load a model; it returns the job, which maps (task, texts) to
embeddings, (n, dim) float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..encoders.precision import multiplies, resolve_precision, torch_dtype
from ..errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..encoders.checkpoint import Checkpoint
    from ..encoders.networks import Kind

Request = tuple[str, list[str]]
Encode = Callable[[Request], "np.ndarray"]
OURS = "modernir"
PEER = "sentence-transformers"


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: Of the library and whatever tells its variants apart, precision included.
        precision: Whose matrix products it uses, one of `PRECISIONS`.
        load: Called in the worker with `arguments`.
        arguments: For `load`.
        needs: (module, what to install) of each package that is not this one's.
    """

    name: str
    precision: str
    load: Callable[..., Encode]
    arguments: tuple[object, ...]
    needs: tuple[tuple[str, str], ...] = ()

    @property
    def missing(self) -> str | None:
        """What keeps it from running here and the command that mends it, or None."""
        absent = [package for module, package in self.needs if find_spec(module) is None]
        return f"not installed: pip install {' '.join(absent)}" if absent else None


def load_ours(
    model: str, device: str, precision: str, trust_remote_code: bool = False, attention: str | None = None
) -> Encode:
    """Load through `modernir.load_encoder`."""
    from ..encoders.loading import load_encoder

    encoder = load_encoder(model, device, precision, trust_remote_code, attention, kind="dense")

    def encode(request: Request) -> "np.ndarray":
        task, texts = request
        return encoder.encode_queries(texts) if task == "query" else encoder.encode_documents(texts)

    return encode


def load_sentence_transformers(
    model: str, device: str, precision: str, trust_remote_code: bool = False, attention: str | None = None
) -> Encode:
    """Load plain sentence-transformers; `attention` is transformers' name of an implementation."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    settings: dict[str, object] = {"dtype": torch_dtype(precision)}
    if attention:
        settings["attn_implementation"] = attention
    return encode_with(
        SentenceTransformer(model, device=device, trust_remote_code=trust_remote_code, model_kwargs=settings)
    )


def encode_with(model: object) -> Encode:
    """Return the job of a `SentenceTransformer`."""

    def encode(request: Request) -> "np.ndarray":
        task, texts = request
        run = getattr(model, f"encode_{task}")
        vectors: np.ndarray = run(texts, show_progress_bar=False, convert_to_numpy=True)
        return vectors

    return encode


def default_precisions(checkpoint: "Checkpoint", device: str, attention: str | None = None) -> tuple[str, ...]:
    """Return the precisions to measure: fp32, and those that the model has here and the hardware multiplies."""
    import torch

    place = torch.device(device)
    half = "fp16" if place.type == "cuda" and not multiplies("bf16", place) else "bf16"
    wanted = ("fp32", half, *(("int8",) if _has_int8(checkpoint, place, attention) else ()))
    return tuple(name for name in wanted if multiplies(name, place))


def check_precisions(
    checkpoint: "Checkpoint", device: str, precisions: Sequence[str], attention: str | None = None
) -> None:
    """Find what this package's encoder would refuse, without loading a weight.

    Raises:
        InputError: The model or the device does not run in one of the precisions, or with the attention back-end.
    """
    import torch

    place = torch.device(device)
    for name in precisions:
        resolve_precision(name, place)
    kind = _own_kind(checkpoint, place)
    own = kind is not None and checkpoint.config.get("model_type") == "modernbert"
    if not own and ("int8" in precisions or attention is not None):
        asked = "int8" if "int8" in precisions else f"the attention back-end {attention!r}"
        raise InputError(f"{checkpoint.name}: not a ModernBERT that this package runs itself; leave {asked} out")
    if attention is not None:
        from ..encoders.modernbert.attention.choose import choose

        for name in precisions:
            choose(place, torch_dtype(name), attention)
    if "int8" in precisions and not _has_int8(checkpoint, place, attention):
        place_or_choice = "on this processor" if attention is None else f"with the attention back-end {attention!r}"
        raise InputError(f"{checkpoint.name}: int8 is not to be had {place_or_choice}; choose fp32 or bf16")


def _own_kind(checkpoint: "Checkpoint", device: "torch.device") -> "Kind | None":
    """Return the network of this package that `load_encoder` would take, or None where it takes another's."""
    from ..encoders.head import read_head
    from ..encoders.networks import find_kind
    from ..encoders.reading import reads_as_saved

    kind = find_kind(checkpoint.config)
    return kind if kind and reads_as_saved(checkpoint) and read_head(checkpoint, device) else None


def _has_int8(checkpoint: "Checkpoint", device: "torch.device", attention: str | None) -> bool:
    kind = _own_kind(checkpoint, device)
    return kind is not None and "int8" in kind.precisions(checkpoint.config, device, attention)


def peer_variants(model: str, device: str, precisions: Sequence[str], trust_remote_code: bool = False) -> list[Variant]:
    """Return sentence-transformers in fp32, and in those of `precisions` that it has."""
    wanted = dict.fromkeys(["fp32", *(name for name in precisions if name != "int8")])
    return [
        Variant(f"{PEER} {name}", name, load_sentence_transformers, (model, device, name, trust_remote_code))
        for name in wanted
    ]


def own_variants(
    model: str, device: str, precisions: Sequence[str], trust_remote_code: bool = False, attention: str | None = None
) -> list[Variant]:
    """Return this package's encoder in each precision; `attention` forces a back-end."""
    return [
        Variant(f"{OURS} {name}", name, load_ours, (model, device, name, trust_remote_code, attention))
        for name in precisions
    ]
