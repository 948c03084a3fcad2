"""Which encoder an index belongs to: what the index records of it, loading it again, and refusing another."""

import sys
from pathlib import Path

from ..encoders import loading
from ..encoders.checkpoint import is_model_folder
from ..errors import InputError
from ..index.index import Index
from .document_options import document_options, recorded_options
from .encoder import Encoder, kind_of


def check_kind(encoder: Encoder, kind: str | None) -> None:
    """Refuse an encoder that does not make vectors of the kind that was asked for.

    Raises:
        InputError: It makes those of another kind.
    """
    found = kind_of(encoder)
    if kind not in (None, found):
        one = {"dense": "one vector a text", "late": "one vector a token"}[found]
        raise InputError(f"{encoder.name}: makes {one}; leave out --kind or choose --kind {found}")


def describe(encoder: Encoder) -> dict[str, object]:
    """Return what an index records of the encoder that fills it."""
    folder = Path(encoder.name).expanduser()
    return {
        "encoder": {
            "name": str(folder.resolve()) if is_model_folder(folder) else encoder.name,
            "fingerprint": encoder.fingerprint,
            "precision": encoder.precision,
            "max_length": encoder.max_length,
            "query_prompt": encoder.query_prompt,
            "document_prompt": encoder.document_prompt,
            "documents": document_options(encoder) or None,
        }
    }


def load_recorded(
    index: Index,
    name: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    trust_remote_code: bool = False,
    attention: str | None = None,
) -> Encoder:
    """Load the encoder that built an index, reading documents as it did, and in its precision if none is asked for.

    Where this machine does not have that precision, a line on stderr says which one is taken.

    Args:
        index: Names the encoder and its precision.
        name: Where the encoder is now; None takes the name in the index.
        device: See `load_encoder`, as for the others.
        precision: None takes the index's where it is to be had.
        trust_remote_code: Run Python code that the checkpoint brings.
        attention: Name of an attention back-end.

    Raises:
        InputError: The index names no encoder, or it cannot be loaded.
    """
    built_in = (index.setting("encoder") or {}).get("precision")
    name = name or recorded_encoder(index)
    how = device, precision, trust_remote_code, attention, built_in
    encoder: Encoder = (
        loading.load_encoder(name, *how, kind="late", **recorded_options(index))
        if index.kind == "late"
        else loading.load_encoder(name, *how)
    )
    if precision is None and built_in not in (None, encoder.precision):
        sys.stderr.write(
            f"{index.path}: built in {built_in}, which this encoder does not have here; searching in "
            f"{encoder.precision}\n"
        )
    return encoder


def recorded_encoder(index: Index) -> str:
    """Return the name of the encoder that built an index.

    Raises:
        InputError: The index names none.
    """
    recorded = index.setting("encoder")
    if recorded is None:
        raise InputError(f"{index.path}: holds vectors of no named encoder; name one with --model")
    return str(recorded["name"])


def check_encoder(index: Index, encoder: Encoder, any_encoder: bool = False) -> None:
    """Refuse an encoder that did not build the index.

    Raises:
        InputError: The fingerprints differ and `any_encoder` is not set, or the vectors have another length.
    """
    recorded = index.setting("encoder")
    if kind_of(encoder) != index.kind:
        raise InputError(f"{index.path}: holds {index.kind} vectors, {encoder.name} makes {kind_of(encoder)} ones")
    if encoder.dim != index.dim:
        raise InputError(f"{index.path}: holds vectors of length {index.dim}, {encoder.name} makes {encoder.dim}")
    if any_encoder or recorded is None or recorded["fingerprint"] == encoder.fingerprint:
        return
    raise InputError(
        f"{index.path}: built with {recorded['name']} (fingerprint {recorded['fingerprint'][:12]}), "
        f"not with {encoder.name} ({encoder.fingerprint[:12]}); search with the former or index again"
    )
