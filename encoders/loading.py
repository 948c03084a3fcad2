"""From a name to an encoder: a table of what a checkpoint may hold, walked in order."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .checkpoint import Checkpoint, open_checkpoint
from .dense import DenseEncoder

if TYPE_CHECKING:
    import torch

MULTI_VECTOR_KINDS = ("MultiVectorEncoder", "ColBERT")


def load_encoder(
    name_or_path: str | Path,
    device: str | None = None,
    precision: str | None = None,
    trust_remote_code: bool = False,
    attention: str | None = None,
    preferred: str | None = None,
) -> DenseEncoder:
    """Load a dense embedder; prompts, maximum length, pooling and normalisation come from the checkpoint.

    Args:
        name_or_path: A folder or a hub name: any dense sentence-transformers checkpoint, or a bare network such as
            a ModernBERT, which gets mean pooling.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes the best there is.
        precision: "fp32", "bf16", "fp16" or, for ModernBERT on a CPU, "int8"; None takes the fastest that keeps
            retrieval quality.
        trust_remote_code: Run Python code that the checkpoint brings. Never on by itself.
        attention: Name of an attention back-end, see `modernir doctor`, for a ModernBERT that runs on this package's
            network; None takes the best there is.
        preferred: Precision to take where none is asked for, if the model and the device have it.

    Raises:
        InputError: There is no such model, it is no dense embedder, it is a ModernBERT with settings or weights that
            this package does not run, or the device or precision is not to be had.
    """
    checkpoint = open_checkpoint(name_or_path)
    _refuse_multi_vector(checkpoint)

    from .precision import resolve_device

    place = resolve_device(device)
    if precision is None and preferred is not None and _has(checkpoint, place, preferred, attention):
        precision = preferred
    return _first_that_loads(checkpoint, place, precision, trust_remote_code, attention)


def _has(checkpoint: Checkpoint, device: "torch.device", precision: str, attention: str | None) -> bool:
    from .networks import find_kind
    from .precision import multiplies

    kind = find_kind(checkpoint.config, checkpoint.network_folder / "config.json")
    # fp16 is never chosen by itself, yet runs on every GPU
    own = (*kind.precisions(checkpoint.config, device, attention), "fp16") if kind else ("fp32", "bf16", "fp16")
    return precision in own and multiplies(precision, device)


def _first_that_loads(
    checkpoint: Checkpoint,
    device: "torch.device",
    precision: str | None,
    trust_remote_code: bool,
    attention: str | None,
) -> DenseEncoder:
    from .packed import load_packed
    from .precision import resolve_precision

    def through_sentence_transformers() -> DenseEncoder:
        if precision == "int8" or attention is not None:
            asked = "int8" if precision == "int8" else f"the attention back-end {attention!r}"
            raise InputError(f"{checkpoint.name}: not a ModernBERT that this package runs itself; leave {asked} out")

        from .sentence_transformer import SentenceTransformerEncoder

        return SentenceTransformerEncoder(checkpoint, device, resolve_precision(precision, device), trust_remote_code)

    loaders: tuple[Callable[[], DenseEncoder | None], ...] = (
        lambda: load_packed(checkpoint, device, precision, attention),
        through_sentence_transformers,
    )
    return next(encoder for load in loaders if (encoder := load()) is not None)


def _refuse_multi_vector(checkpoint: Checkpoint) -> None:
    pylate = any(name.startswith("pylate.") for name, _ in checkpoint.modules)
    if pylate or checkpoint.kind in MULTI_VECTOR_KINDS:
        raise InputError(f"{checkpoint.name}: a multi-vector (ColBERT) checkpoint, where a dense one was expected")
