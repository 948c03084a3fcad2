"""Several processes that train one model, as torchrun starts them: who they are, and what they tell one another.

A batch is shared out among them; the losses gather its documents, and gradients are averaged once a step. With one
process nothing here does anything. torch is imported only where it is used.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import ModernirError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Result = TypeVar("Result")
WAIT = timedelta(hours=6)
"""How long the others wait while the first reads the data; torchrun ends them where it has died."""
LAST_WORD = 3.0
"""Seconds that the first has for what it says, since torchrun kills all others once one has ended in failure."""
BUCKET = 1 << 24
"""Numbers of gradients that travel at once: 64 MiB of float32."""


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_first() -> bool:
    """Say whether this is the process that writes files, logs and results."""
    return rank() == 0


def connect() -> None:
    """Let the processes reach one another; once, before anything that they do together."""
    if count() == 1:
        return
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available(), timeout=WAIT)
    for module in ("accelerate", "sentence_transformers"):  # which call torch by names of old, in every process
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)


@contextmanager
def one_voice() -> Iterator[None]:
    """Let the first process alone say how a run ends that fails or is interrupted; the others end silently.

    Raises:
        SystemExit: In place of a `ModernirError` or KeyboardInterrupt, in all processes but the first.
    """
    try:
        yield
    except (ModernirError, KeyboardInterrupt) as error:
        if is_first():
            raise
        time.sleep(LAST_WORD)
        raise SystemExit(error.exit_code if isinstance(error, ModernirError) else 130) from error


def first_does(act: Callable[[], Result]) -> Result:
    """Call a function in the first process only; what it returns, or the failure it ends with, reaches all.

    Args:
        act: What it returns must be known to pickle.

    Raises:
        ModernirError: As `act` does.
    """
    if count() == 1:
        return act()
    import torch.distributed as dist

    told: list[Any] = [None, None]
    if is_first():
        try:
            told[0] = act()
        except BaseException as error:
            told[1] = error if isinstance(error, ModernirError) else ModernirError(str(error))
            dist.broadcast_object_list(told, src=0)
            raise
    dist.broadcast_object_list(told, src=0)
    if told[1] is not None:
        raise told[1]
    result: Result = told[0]
    return result


def anywhere(flag: bool) -> bool:
    """Say whether a flag is set in any process; all must ask at the same place."""
    if count() == 1:
        return flag
    import torch
    import torch.distributed as dist

    on = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(int(flag), device=on)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return bool(found)


def average_gradients(parameters: "Iterable[torch.nn.Parameter]") -> None:
    """Replace the gradients of each process by their mean over all of them.

    A loss that is the mean over a process's share of the batch becomes the mean over the batch, since shares are equal.

    Args:
        parameters: The same in all processes, and with gradients in all or in none.
    """
    if count() == 1:
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is not None:
            bucket.append(parameter.grad)
        if sum(gradient.numel() for gradient in bucket) >= BUCKET:
            _average(bucket)
            bucket = []
    if bucket:
        _average(bucket)


def _average(gradients: "list[Tensor]") -> None:
    import torch
    import torch.distributed as dist

    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= count()
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
