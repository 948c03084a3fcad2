"""One training run, whatever the kind of model: examples in, a folder that plain sentence-transformers loads out.

The loop is sentence-transformers' trainer; here is what it is given and what is kept. What differs from kind to kind is
a `Kind`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...encoders.accelerate import accelerate
from ...errors import InputError
from ..readers.rows import RowOptions
from . import processes
from .data import EXAMPLES_FILE, open_examples, split_held_out
from .false_negatives import FalseNegativeFilter
from .run_folder import RunFolder
from .settings import TrainingSettings
from .writing import ReadingPlan, write_examples

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
    with processes.one_voice(), ExitStack() as ending:
        if settings.batch_size % processes.count():
            raise InputError(
                f"batch_size: {settings.batch_size} examples are not to be shared out evenly among "
                f"{processes.count()} processes"
            )
        processes.connect()
        checkpoint = processes.first_does(partial(run.claim, settings))
        if processes.is_first():
            ending.enter_context(run.undone_by_bad_input())
            ending.enter_context(run.full_disk_said())
        ending.enter_context(_bars_hidden())
        processes.first_does(partial(_read, settings, run, scored_negatives))
        holdout = 0 if settings.dev else settings.holdout
        examples, held_out = split_held_out(open_examples(run.examples), holdout, settings.seed)
        if len(examples) < settings.batch_size:
            raise InputError(
                f"{len(examples)} examples to train on are less than one --batch-size {settings.batch_size}"
            )
        model = _model(settings, kind, examples, checkpoint)
        _train(settings, run, kind, model, examples, held_out, checkpoint)
        processes.first_does(partial(run.publish, model, partial(_write, settings, model)))
    return run.path


def _read(settings: TrainingSettings, run: RunFolder, scored_negatives: int) -> None:
    if not (run.examples / EXAMPLES_FILE).is_file():
        options = RowOptions(split=settings.split, config=settings.subset)
        write_examples(settings.data, options, _plan(settings, scored_negatives), run.examples)


def _model(settings: TrainingSettings, kind: Kind, examples: "Dataset", checkpoint: Path | None) -> Any:  # noqa: ANN401
    model = kind.load(str(checkpoint)) if checkpoint else kind.start(settings, examples)
    with suppress(InputError):  # what the engine does not run trains as it is
        accelerate(model)
    if settings.lora_rank:
        from .lora import adapt

        adapt(model, settings)
    return model


def _write(settings: TrainingSettings, model: Any, folder: Path) -> None:  # noqa: ANN401 - the kind's
    if settings.lora_rank:
        from .lora import merge, save_adapters

        if settings.keep_adapter:
            save_adapters(model, folder)
        merge(model)
    model.save_pretrained(str(folder))


def _plan(settings: TrainingSettings, scored_negatives: int) -> ReadingPlan:
    judge = FalseNegativeFilter(settings.false_negative_ratio, settings.false_negative_margin)
    return ReadingPlan(settings.negatives, scored_negatives, settings.mixing is not None, judge)


def _train(
    settings: TrainingSettings,
    run: RunFolder,
    kind: Kind,
    model: Any,  # noqa: ANN401 - the kind's
    examples: "Dataset",
    held_out: "Dataset",
    checkpoint: Path | None,
) -> None:
    from .best import best_measurement
    from .callbacks import RunLog, StopOnInterrupt
    from .trainer import make_trainer

    log, stop = RunLog(run.log), StopOnInterrupt()
    callbacks = [log, stop] if processes.is_first() else [stop]
    resumes = checkpoint is not None
    trainer = make_trainer(
        settings, kind.parts(), run.checkpoints, model, examples, held_out, callbacks, resumes=resumes
    )
    if settings.teacher:
        from .teacher import follow

        follow(trainer, settings, run.examples, examples)
    try:
        with stop.listening():
            trainer.go(checkpoint)
    finally:
        log.close()
    state = trainer.state
    if stop.requested and state.global_step < state.max_steps:
        kept = run.newest_checkpoint()
        raise KeyboardInterrupt(f"checkpoint kept in {kept}; continue with --resume" if kept else "nothing to keep yet")
    if not state.global_step:
        raise InputError(f"no batch of {settings.batch_size} different texts in the examples; lower --batch-size")
    best = best_measurement(state.log_history, settings.metric) if settings.keeps_best else None
    if best and processes.is_first():
        step, value = best
        log.say(f"the model is that of step {step}, with the best {settings.metric} of {value:.4g}")
        trainer.restore(run.checkpoint(step))


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
