"""Dense checkpoints with a network for queries and another for documents, as DPR has them: one encoder of two.

Karpukhin and others, "Dense Passage Retrieval for Open-Domain Question Answering" (2020), arXiv 2004.04906. In
sentence-transformers they are a `Router` whose routes are the towers, and modules after it are for both.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from ..errors import InputError
from .checkpoint import TASKS, Checkpoint, module_folder, module_name, read_object, read_optional
from .dense import DenseEncoder
from .encoder import Read

if TYPE_CHECKING:
    import torch

ROUTER = "Router"
ROUTER_CONFIG = "router_config.json"


@dataclass(frozen=True)
class Tower:
    """What encodes the texts of one task.

    Attributes:
        route: Its name in the router.
        checkpoint: Its modules and those after the router, as if there were nothing else in the folder.
    """

    route: str
    checkpoint: Checkpoint


def read_towers(checkpoint: Checkpoint) -> dict[str, Tower] | None:
    """Return what encodes each "query" and "document", or None where a checkpoint does not begin with a router.

    Raises:
        InputError: The router's file makes no sense, or has no route for a task.
    """
    if not checkpoint.modules or checkpoint.modules[0][0] != ROUTER:
        return None
    place, after = checkpoint.modules[0][1], checkpoint.modules[1:]
    file = place / ROUTER_CONFIG
    router = read_object(file)
    towers = {}
    for task in TASKS:
        route = _route(router, task, file)
        modules = tuple(_modules(router, route, place, file))
        config = read_optional(modules[0][1] / "config.json")
        towers[task] = Tower(route, replace(checkpoint, config=config, modules=(*modules, *after)))
    return towers


def _route(router: Mapping[str, Any], task: str, file: Path) -> str:
    """Return the route of a task's texts, found in the order in which sentence-transformers looks for it."""
    parameters = router.get("parameters")
    mappings = parameters.get("route_mappings") if isinstance(parameters, dict) else None
    structure = router.get("structure")
    if not isinstance(structure, dict) or not isinstance(mappings or {}, dict):
        raise InputError(f"{file}: expected a 'structure' from routes to modules, and 'parameters'")
    named = {_key(key): route for key, route in (mappings or {}).items()}
    wanted = ((task, "text"), (task, None), (None, "text"), (None, None))
    routes = [named[key] for key in wanted if key in named] + [key for key in (task, "text") if key in structure]
    if not routes or routes[0] not in structure:
        raise InputError(f"{file}: has no route for a {task}; found {', '.join(map(str, structure)) or 'none'}")
    return str(routes[0])


def _key(written: str) -> object:
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError):  # sentence-transformers passes over it as well
        return written


def _modules(router: Mapping[str, Any], route: str, place: Path, file: Path) -> list[tuple[str, Path]]:
    types, names = router.get("types"), router["structure"][route]
    classes = types if isinstance(types, dict) else {}
    known = [(name, classes.get(name)) for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if not known or not all(isinstance(kind, str) for _, kind in known):
        raise InputError(f"{file}: expected modules of the route {route!r} that 'types' gives a class, found {names!r}")
    return [(module_name(str(kind)), module_folder(place, name, file)) for name, kind in known]


def common_precision(
    towers: Mapping[str, Tower], device: "torch.device", precision: str | None, attention: str | None
) -> str:
    """Return the precision that was asked for, or the fastest that keeps the quality of both towers.

    Raises:
        InputError: See `resolve_precision`.
    """
    from .precision import resolve_precision

    offered = [precisions(tower.checkpoint, device, attention) for tower in towers.values()]
    return resolve_precision(precision, device, [name for name in offered[0] if name in offered[1]])


def precisions(checkpoint: Checkpoint, device: "torch.device", attention: str | None) -> tuple[str, ...]:
    """Return the precisions that keep the quality of a checkpoint's network, the fastest first."""
    from .networks import find_kind

    kind = find_kind(checkpoint.config, checkpoint.network_folder / "config.json")
    return kind.precisions(checkpoint.config, device, attention) if kind else ("bf16", "fp32")


@dataclass(frozen=True)
class _Routed:
    """Texts that a tower has made ready."""

    task: str
    read: Read

    @property
    def cut(self) -> int:
        return self.read.cut


class TwoTowers(DenseEncoder):
    """A dense encoder that has an encoder for queries and another for documents; see `DenseEncoder`.

    Attributes:
        towers: The two, by task.

    Raises:
        InputError: Their vectors differ in length.
    """

    def __init__(self, checkpoint: Checkpoint, towers: Mapping[str, DenseEncoder]) -> None:
        query, document = towers["query"], towers["document"]
        if query.dim != document.dim:
            raise InputError(
                f"{checkpoint.name}: has vectors of {query.dim} numbers for queries and {document.dim} for documents, "
                "which no index compares; take a model whose two towers agree"
            )
        longest = max(query.max_length, document.max_length)
        super().__init__(checkpoint, document.dim, longest, document.device, document.precision)
        self.query_length, self.document_length = query.query_length, document.document_length
        self.towers = towers

    @property
    def fingerprint(self) -> str:
        """Of both towers; see `TextEncoder`."""
        if self._fingerprint is None:
            # a tower's own covers the weights of both, so that it takes the places to tell which one is whose
            places = [[folder.name for _, folder in self.towers[task]._checkpoint.modules] for task in TASKS]
            parts = [self.towers[task].fingerprint for task in TASKS]
            self._fingerprint = xxhash.xxh3_128(f"{parts} {places}".encode()).hexdigest()
        return self._fingerprint

    def _read(self, texts: Sequence[str], task: str) -> _Routed:
        return _Routed(task, self.towers[task]._read(texts, task))

    def _encode(self, read: _Routed) -> np.ndarray:
        return self.towers[read.task]._encode(read.read)
