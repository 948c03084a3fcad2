"""A ColBERT as Stanford's code saves it: the projection among the network's weights, and `artifact.metadata`."""

from pathlib import Path

from ....files import write_json
from ...checkpoint import STANFORD_SETTINGS
from ..modules import NORMALIZE
from .modules import projection_matrix
from .network import write_network, write_tokenizer
from .source import Source


def write_stanford(source: Source, folder: Path) -> None:
    """Write every file of a checkpoint into an empty folder; `check_limits` says whether it holds the settings.

    Raises:
        InputError: The weights are damaged, a marker cannot be added to the embedding table, or transformers does not
            know the architecture.
    """
    settings = source.settings
    expansion = settings.expansion
    assert expansion is not None
    place = next(place for name, place in settings.steps if name != NORMALIZE)
    matrix = projection_matrix(place)
    write_network(source, folder, matrix)
    write_tokenizer(source, folder, source.markers, restore_padding=True)
    metadata = {
        "query_token_id": source.markers["query"].token,
        "doc_token_id": source.markers["document"].token,
        "query_token": "[Q]",
        "doc_token": "[D]",
        "query_maxlen": expansion.length,
        "doc_maxlen": settings.lengths["document"],
        "attend_to_mask_tokens": expansion.attended,
        "mask_punctuation": bool(settings.skiplist),
        "dim": len(matrix),
        "similarity": "cosine",
    }
    write_json(folder / STANFORD_SETTINGS, metadata)
