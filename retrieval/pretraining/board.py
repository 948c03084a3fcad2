"""The run's figures for TensorBoard, where the package `tensorboard` is installed; nothing elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Board:
    """Writes scalars for TensorBoard, or nothing.

    Args:
        folder: Of its files.
        step: Steps that are done; what stands there beyond them is hidden.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else 0)

    @property
    def writes(self) -> bool:
        """Whether TensorBoard is there."""
        return self._writer is not None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one value each."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is held back."""
        if self._writer is not None:
            self._writer.close()
