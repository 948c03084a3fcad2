"""The list of modules that sentence-transformers and PyLate save, and the folders of those after the network."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ....errors import InputError
from ....files import write_json
from ...checkpoint import read_optional
from ...projection import DENSE_SHAPE
from ...weights import CONFIG, SINGLE, read_weights, write_weights
from ..head import LINEAR

IDENTITY = "torch.nn.modules.linear.Identity"


class ModuleList:
    """Modules of a checkpoint in order, the network in the folder itself and each other in one of its own.

    Args:
        folder: The checkpoint's.
        classes: Name to the path of each class.
    """

    def __init__(self, folder: Path, classes: Mapping[str, str]) -> None:
        self._folder = folder
        self._classes = classes
        self._modules = [{"idx": 0, "name": "0", "path": "", "type": classes["Transformer"]}]

    def add(self, name: str) -> Path:
        """Add a module of a class and return its folder, which is made."""
        number = len(self._modules)
        path = f"{number}_{name}"
        self._modules.append({"idx": number, "name": str(number), "path": path, "type": self._classes[name]})
        (self._folder / path).mkdir()
        return self._folder / path

    def write(self) -> None:
        """Write the list."""
        write_json(self._folder / "modules.json", self._modules)


def residual(place: Path) -> bool:
    """Say whether a projection adds what goes in to what comes out."""
    return bool(read_optional(place / CONFIG).get("use_residual"))


def write_projection(kind: str, place: Path, folder: Path, settings: Mapping[str, Any]) -> None:
    """Write a projection as a module.

    Args:
        kind: "Dense", a module already, or "Linear", a matrix among the network's weights.
        place: Its folder, or the network's.
        folder: Exists and is empty.
        settings: What the format adds to the projection's shape.

    Raises:
        InputError: The weights are damaged.
    """
    if kind == "Linear":
        matrix = projection_matrix(place)
        shape = {"in_features": matrix.shape[1], "out_features": matrix.shape[0], "bias": False}
        write_json(folder / CONFIG, {**shape, "activation_function": IDENTITY, **settings})
        write_weights(folder / SINGLE, {LINEAR: matrix})
        return
    config = read_optional(place / CONFIG)
    projection_matrix(place)
    write_json(folder / CONFIG, {**{name: config[name] for name in DENSE_SHAPE if name in config}, **settings})
    shutil.copyfile(place / SINGLE, folder / SINGLE)


def projection_matrix(place: Path) -> torch.Tensor:
    """Return the matrix of a projection, (out, in), from its folder or the network's.

    Raises:
        InputError: The weights are damaged or lack it.
    """
    matrix = read_weights(place).tensors.get(LINEAR)
    if matrix is None or matrix.ndim != 2:
        raise InputError(f"{place}: the weights lack the matrix {LINEAR!r}, the projection of a ColBERT")
    return matrix
