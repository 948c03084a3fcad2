"""What is measured: this package's encoder in each precision, and sentence-transformers beside it.

A variant is a function that a worker process calls to load a model; it returns the job, which maps (task, texts) to
embeddings, (n, dim) float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import numpy as np

Request = tuple[str, list[str]]
Encode = Callable[[Request], "np.ndarray"]
OURS = "modernir"
PEER = "sentence-transformers"
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


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

    encoder = load_encoder(model, device, precision, trust_remote_code, attention)

    def encode(request: Request) -> "np.ndarray":
        task, texts = request
        return encoder.encode_queries(texts) if task == "query" else encoder.encode_documents(texts)

    return encode


def load_sentence_transformers(
    model: str, device: str, precision: str, trust_remote_code: bool = False, attention: str | None = None
) -> Encode:
    """Load plain sentence-transformers; `attention` is transformers' name of an implementation."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    settings: dict[str, object] = {"dtype": getattr(torch, DTYPES[precision])}
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


def default_precisions(device: str) -> tuple[str, ...]:
    """Return the precisions to measure on a device: fp32 and those that the hardware multiplies."""
    import torch

    from ..encoders.precision import multiplies

    halves = ("bf16",) if multiplies("bf16", torch.device(device)) else ("fp16",)
    wanted = ("fp32", *(halves if device.startswith("cuda") else ("bf16", "int8")))
    return tuple(name for name in wanted if multiplies(name, torch.device(device)))


def parse_precisions(names: Sequence[str]) -> tuple[str, ...]:
    """Check names of precisions.

    Raises:
        InputError: One is unknown, or there is none.
    """
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        raise InputError(f"unknown precision {', '.join(unknown) or '(none)'}; expected {', '.join(PRECISIONS)}")
    return tuple(names)


def peer_variants(model: str, device: str, precisions: Sequence[str], trust_remote_code: bool = False) -> list[Variant]:
    """Return sentence-transformers in fp32, and in those of `precisions` that it has."""
    wanted = dict.fromkeys(["fp32", *(name for name in precisions if name in DTYPES)])
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
