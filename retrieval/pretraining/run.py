"""One pre-training run: plain text in, a masked language model that retrievers start from out."""

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from ..readers.rows import RowOptions
from .run_folder import PretrainingFolder
from .settings import Pretraining

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .packs import Supply
    from .start import Start


def pretrain(settings: Pretraining) -> Path:
    """Pre-train a ModernBERT and return its folder, `settings.output`.

    The folder also keeps `training.toml`, which repeats the run, `training_log.jsonl`, TensorBoard's files where that
    is installed, and the last checkpoints.

    Raises:
        InputError: The settings, the data, the model or the folder cannot be used, or the disk is full.
        ModernirError: The loss or the weights are no longer finite.
        KeyboardInterrupt: Ctrl-C came; a checkpoint was saved where a step was done.
    """
    settings = settings.with_full_paths()
    run = PretrainingFolder(Path(settings.output))
    checkpoint = run.claim(settings)
    with run.undone_by_bad_input(), run.full_disk_said():
        from .start import read_start, starting_point
        from .trainer import Trainer

        device = _device(settings)
        start = read_start(checkpoint) if checkpoint else starting_point(settings)
        supply, held_out = _supply(settings, run, start, device)
        trainer = Trainer(settings, run, start, supply, held_out)
        trainer.train(checkpoint)
        run.publish(start)
    return run.path


def _device(settings: Pretraining) -> "torch.device":
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if settings.compile and device.type != "cuda":
        raise InputError("compile: torch.compile is used on CUDA, and there is none here; leave --compile out")
    return device


def _supply(
    settings: Pretraining, run: PretrainingFolder, start: "Start", device: "torch.device"
) -> "tuple[Supply, np.ndarray]":
    """Tokenise what is not yet, and return the packs to train on and the numbers of the held-out texts."""
    from .corpus import ABOUT, Corpus, write_corpus
    from .masking import Masking
    from .packs import Supply, split_held_out

    positions = start.network.config.positions
    capacity = settings.capacity(positions)
    if not (run.examples / ABOUT).is_file():
        run.drop_half_corpus()
        options = RowOptions(split=settings.split, config=settings.subset)
        write_corpus(settings.data, options, start.tokenizer, positions, run.examples, settings.seed)
    corpus = Corpus.open(run.examples)
    texts, held_out = split_held_out(len(corpus), settings.holdout, settings.seed)
    masking = Masking.of(start.tokenizer, settings.masked, settings.masking == "plain")
    supply = Supply(corpus, texts, capacity, masking, settings.seed, device)
    if supply.per_pass < settings.batch_size:
        raise InputError(
            f"{supply.tokens:,} tokens to train on fill {supply.per_pass} packs of {capacity:,}, less than one batch "
            f"of {settings.batch_size}; give more text, or a smaller --batch-size or --pack-tokens"
        )
    return supply, held_out
