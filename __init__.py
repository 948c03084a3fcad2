"""modernir: train, index, search and evaluate text retrievers.

The public names are loaded on first use, so that `import modernir` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .encoders.accelerate import accelerate as accelerate
    from .encoders.colbert import ColbertEncoder as ColbertEncoder
    from .encoders.convert import convert as convert
    from .encoders.dense import DenseEncoder as DenseEncoder
    from .encoders.loading import load_encoder as load_encoder
    from .encoders.tokens import TokenMatrix as TokenMatrix
    from .errors import InputError as InputError
    from .errors import ModernirError as ModernirError
    from .eval.evaluate import evaluate as evaluate
    from .index.documents import Document as Document
    from .index.index import Index as Index
    from .retrieval.retriever import Hit as Hit
    from .retrieval.retriever import Retriever as Retriever

__version__ = "0.1.0"

_HOMES = {
    "ColbertEncoder": "encoders.colbert",
    "DenseEncoder": "encoders.dense",
    "Document": "index.documents",
    "Hit": "retrieval.retriever",
    "Index": "index.index",
    "InputError": "errors",
    "ModernirError": "errors",
    "Retriever": "retrieval.retriever",
    "TokenMatrix": "encoders.tokens",
    "accelerate": "encoders.accelerate",
    "convert": "encoders.convert",
    "evaluate": "eval.evaluate",
    "load_encoder": "encoders.loading",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type is the loaded name's
    """Import a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'modernir' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
