"""Checkpoints of a run: a model folder that loads like any other, and beside it what going on exactly needs.

    config.json, model.safetensors, tokenizer files    the model
    optimizer.safetensors                              both moments of every weight, and the random states
    trainer_state.json                                 how far the run is

The folder appears at once with all of it. Nothing is pickled.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ...encoders.modernbert.network import MaskedLanguageModel
from ...errors import InputError
from ...files import new_folder, read_json, sync_files, write_json
from ..training.run_folder import STATE
from .stable_adamw import MOMENTS, StableAdamW
from .start import Start

OPTIMIZER = "optimizer.safetensors"
RANDOM, RANDOM_CUDA = "random", "random_cuda"
KEPT = 2


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        global_step: Steps taken.
        packs: Packs seen.
        tokens: Tokens in them.
    """

    global_step: int = 0
    packs: int = 0
    tokens: int = 0


def save_checkpoint(folder: Path, model: Start, optimizer: StableAdamW, progress: Progress) -> Path:
    """Write a checkpoint into `folder`, and remove all but the newest ones there.

    Returns:
        The checkpoint's own folder.
    """
    target = folder / f"checkpoint-{progress.global_step}"
    with new_folder(target) as fresh:
        model.save_pretrained(str(fresh))
        state = {RANDOM: torch.get_rng_state()}
        if torch.cuda.is_available():
            state[RANDOM_CUDA] = torch.cuda.get_rng_state()
        for name, parameter in model.network.named_parameters():
            moments = optimizer.moments(parameter).items()
            state |= {f"{kind}.{name}": moment.contiguous() for kind, moment in moments}
        save_file(state, fresh / OPTIMIZER)
        write_json(fresh / STATE, asdict(progress))
        sync_files(fresh)
    older = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[-1]))
    for path in older[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)
    return target


def read_progress(checkpoint: Path) -> Progress:
    """Read how far the run of a checkpoint was."""
    return Progress(**read_json(checkpoint / STATE))


def restore(checkpoint: Path, network: MaskedLanguageModel, optimizer: StableAdamW, progress: Progress) -> None:
    """Put the optimiser and the random states where they were; the weights are the checkpoint's already.

    Args:
        checkpoint: Its folder.
        network: On the device where it trains.
        optimizer: Of this network's parameters.
        progress: What the checkpoint says.

    Raises:
        InputError: The file lacks the state of a weight.
    """
    state = load_file(checkpoint / OPTIMIZER)
    for name, parameter in network.named_parameters():
        for kind in MOMENTS:
            if f"{kind}.{name}" not in state:
                raise InputError(f"{checkpoint / OPTIMIZER}: lacks {kind}.{name}; remove this checkpoint to go on")
            optimizer.moments(parameter)[kind].copy_(state[f"{kind}.{name}"])
    for group in optimizer.param_groups:
        group["step"] = progress.global_step
    torch.set_rng_state(state[RANDOM])
    if torch.cuda.is_available() and RANDOM_CUDA in state:
        torch.cuda.set_rng_state(state[RANDOM_CUDA])
