"""One training run, whatever the kind of model: examples in, a folder that plain sentence-transformers loads out.

The loop is sentence-transformers' trainer; here is what it is given and what is kept. What differs from kind to kind is
a `Kind`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...encoders.accelerate import accelerate
from ...errors import InputError
from ..readers.rows import RowOptions
from .data import EXAMPLES_FILE, open_examples, split_held_out, write_examples
from .run_folder import RunFolder
from .settings import TrainingSettings

if TYPE_CHECKING:
    from datasets import Dataset

    from .trainer import Parts


@dataclass(frozen=True)
class Kind:
    """What differs between kinds of models; nothing heavy is imported before one of these is called.

    Attributes:
        start: Makes the model of a run from its settings and its examples.
        load: Loads the model of a checkpoint.
        parts: Returns the classes and functions of the trainer.
    """

    start: Callable[[Any, "Dataset"], Any]
    load: Callable[[str], Any]
    parts: Callable[[], "Parts"]


def train(settings: TrainingSettings, kind: Kind, scored_negatives: int = 0) -> Path:
    """Train a retriever and return its folder, `settings.output`.

    The folder also keeps `training.toml`, which repeats the run, `training_log.jsonl` and the last checkpoints.

    Args:
        settings: Of the kind.
        kind: What is trained.
        scored_negatives: Fewest negatives of an example that the loss compares by a teacher's scores; 0 for none.

    Raises:
        InputError: The settings, the data, the model or the folder cannot be used, or the disk is full.
        ModernirError: The loss or the weights are no longer finite.
        KeyboardInterrupt: Ctrl-C came; a checkpoint was saved.
    """
    settings = settings.with_full_paths()
    run = RunFolder(Path(settings.output))
    checkpoint = run.claim(settings)
    with run.undone_by_bad_input(), run.full_disk_said(), _bars_hidden():
        if not (run.examples / EXAMPLES_FILE).is_file():
            options = RowOptions(split=settings.split, config=settings.subset)
            write_examples(settings.data, options, settings.negatives, run.examples, scored_negatives)
        examples, held_out = split_held_out(open_examples(run.examples), settings.holdout, settings.seed)
        if len(examples) < settings.batch_size:
            raise InputError(
                f"{len(examples)} examples to train on are less than one --batch-size {settings.batch_size}"
            )
        model = kind.load(str(checkpoint)) if checkpoint else kind.start(settings, examples)
        with suppress(InputError):  # what the engine does not run trains as it is
            accelerate(model)
        _train(settings, run, kind, model, examples, held_out, checkpoint)
        run.publish(model)
    return run.path


def _train(
    settings: TrainingSettings,
    run: RunFolder,
    kind: Kind,
    model: Any,  # noqa: ANN401 - the kind's
    examples: "Dataset",
    held_out: "Dataset",
    checkpoint: Path | None,
) -> None:
    from .callbacks import RunLog, StopOnInterrupt
    from .trainer import make_trainer

    log, stop = RunLog(run.log), StopOnInterrupt()
    resumes = checkpoint is not None
    trainer = make_trainer(
        settings, kind.parts(), run.checkpoints, model, examples, held_out, [log, stop], resumes=resumes
    )
    try:
        with stop.listening():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        log.close()
    state = trainer.state
    if stop.requested and state.global_step < state.max_steps:
        kept = run.newest_checkpoint()
        raise KeyboardInterrupt(f"checkpoint kept in {kept}; continue with --resume" if kept else "nothing to keep yet")
    if not state.global_step:
        raise InputError(f"no batch of {settings.batch_size} different texts in the examples; lower --batch-size")


@contextmanager
def _bars_hidden() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # one for every file that is read or written
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
