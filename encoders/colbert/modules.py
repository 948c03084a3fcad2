"""What the `modules.json` of a ColBERT lists after the network, for both libraries that write one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import Checkpoint, read_optional
from ..fields import FieldReader
from .settings import TokenPooling

NORMALIZE = "Normalize"
ALIASES = {"pylate.models.Dense.Dense": "Dense"}
ON_TOKENS: dict[str, tuple[object, ...]] = {
    "module_input_name": ("token_embeddings", None),
    "module_output_name": ("token_embeddings", None),
    "use_residual": (True, False),
}
"""The other settings of modules that map vectors to vectors, and their values that run here."""


@dataclass(frozen=True)
class ModulesRead:
    """What was found.

    Attributes:
        steps: See `ColbertSettings`.
        mask: The config of the `MultiVectorMask`, or None where there is none.
        mask_file: Its file.
        pooling: What merges like tokens, or None.
        foreign: The first module that only sentence-transformers runs, or None.
    """

    steps: tuple[tuple[str, Path], ...]
    mask: Mapping[str, Any] | None
    mask_file: Path
    pooling: TokenPooling | None
    foreign: str | None


def read_modules(checkpoint: Checkpoint) -> ModulesRead:
    """Read what follows the network.

    Raises:
        InputError: The settings of token pooling make no sense.
    """
    modules = [(ALIASES.get(name, name), folder) for name, folder in checkpoint.modules]
    configs = [read_optional(folder / "config.json") for _, folder in modules[1:]]
    steps: list[tuple[str, Path]] = []
    mask, mask_file, pooling = None, checkpoint.folder, None
    foreign = None if modules and modules[0][0] == "Transformer" else "a first module that is no Transformer"
    for (name, folder), config in zip(modules[1:], configs, strict=True):
        if pooling is None and _runs_on_tokens(name, config):
            steps.append((name, folder))
        elif pooling is None and mask is None and name == "MultiVectorMask":
            mask, mask_file = config, folder / "config.json"
        elif pooling is None and name == "HierarchicalTokenPooling":
            pooling = _pooling(FieldReader(config, folder / "config.json"))
        else:
            foreign = foreign or name
    return ModulesRead(tuple(steps), mask, mask_file, pooling, foreign)


def _runs_on_tokens(name: str, config: Mapping[str, Any]) -> bool:
    from ..projection import DENSE_SHAPE, has_activation

    if not all(key in DENSE_SHAPE or value in ON_TOKENS.get(key, ()) for key, value in config.items()):
        return False
    return name == NORMALIZE or (name == "Dense" and has_activation(config))


def _pooling(read: FieldReader) -> TokenPooling:
    factor = read.number("pool_factor", 1.0)
    if factor < 1:
        raise read.error("pool_factor", factor, "a number of at least 1")
    tasks = read.fields.get("tasks") or ["document"]
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise read.error("tasks", tasks, "a list of texts")
    # sentence-transformers takes a missing flag for one of before rows were normalised
    normalized = "normalize_embeddings" in read.fields and read.flag("normalize_embeddings")
    return TokenPooling(factor, read.token("num_protected_tokens", 1) or 0, normalized, tuple(tasks))
