"""sentence-transformers' trainers as our settings ask for them, with some additions.

Batches are ordered by length: the losses do not see the order of a batch, and the chunks that GradCache cuts from a
sorted one hold texts of like length and next to no padding. A loss that is no number ends the run. Several processes
take equal parts of each batch and average their gradients. Imported only once training starts, since it needs torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.data_collator import BaseDataCollator
from sentence_transformers.base.trainer import BaseTrainer
from sentence_transformers.base.training_args import BaseTrainingArguments
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerState

from ...errors import InputError
from . import lora, processes
from .best import KeepBest, Prune, is_exhausted
from .callbacks import GuardWeights, MeasureAtEnd, not_finite
from .data import SCORES, held_out_collection, is_text
from .dev import dev_collection
from .epochs import TellEpoch
from .mixing import samplers, training_sets
from .run_folder import STATE
from .settings import TrainingSettings

if TYPE_CHECKING:
    from datasets import Dataset

TENTH_OF_A_RUN = 0.1
EVALUATION_BATCH = 64
SCHEDULERS = {"linear": "linear", "cosine": "cosine", "wsd": "warmup_stable_decay"}
"""Our names of the schedulers, and those of transformers."""


class LengthSorted(BaseDataCollator):
    """Puts the examples of a batch in the order of their positive's length."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the tokenised batch."""
        return super().__call__(sorted(features, key=lambda row: len(row["positive"])))


class GuardedTrainer(BaseTrainer):
    """Refuses a loss that is not finite, and keeps the training texts out of the model's README.

    Attributes:
        settings: Of the run.
    """

    settings: TrainingSettings

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add nothing: what writes the README as training goes quotes examples there."""

    def override_model_in_loss(self, loss: torch.nn.Module, model: torch.nn.Module) -> torch.nn.Module:
        """Leave the bare model in the loss, where DistributedDataParallel's wrapper would go.

        GradCache goes back through the model once for each mini-batch, of two towers not always through the same
        weights; joining gradients once a step, when all of them are there, is simpler and always right.
        """
        return loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - the trainer's
        """Take one step.

        Raises:
            ModernirError: The loss is not finite, in whatever process; no checkpoint was written with it.
        """
        loss = super().training_step(*args, **kwargs)
        if processes.anywhere(not torch.isfinite(loss)):
            raise not_finite(self.state.global_step + 1, f"losses (found {loss.item()})", self.args.output_dir)
        if self.accelerator.sync_gradients:
            processes.average_gradients(self.loss.parameters())
        return loss

    def create_scheduler(self, num_training_steps: int, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Make the scheduler, now that the number of steps is known."""
        if self.args.lr_scheduler_type == SCHEDULERS["wsd"]:
            steps = round(self.settings.decay * num_training_steps)
            self.args.lr_scheduler_kwargs = {"num_decay_steps": steps, "decay_type": "1-sqrt"}
        return super().create_scheduler(num_training_steps, *args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ANN401 - the trainer's
        if not lora.has_adapters(self.model):
            super()._save(output_dir, state_dict)
            return
        with lora.taken_away(self.model):
            super()._save(output_dir)
        lora.save_adapters(self.model, Path(output_dir or self.args.output_dir or ""))

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        if not lora.has_adapters(self.model):
            super()._load_from_checkpoint(checkpoint_path)
            return
        with lora.taken_away(self.model):
            super()._load_from_checkpoint(checkpoint_path)
        lora.load_adapters(self.model, Path(checkpoint_path))

    def go(self, checkpoint: Path | None) -> None:
        """Train from the start, or go on from a checkpoint; one that early stopping left is the end already."""
        if checkpoint:
            state = TrainerState.load_from_json(str(checkpoint / STATE))
            if is_exhausted(state.log_history, self.settings):
                self.state = state
                self.restore(checkpoint)
                return
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    def restore(self, checkpoint: Path) -> None:
        """Give the model the weights of a checkpoint."""
        self._load_from_checkpoint(str(checkpoint))


@dataclass(frozen=True)
class Parts:
    """What the trainers of two kinds of models differ in.

    Attributes:
        trainer: The trainer's class.
        arguments: The class of its arguments.
        loss: Makes the loss from the settings and the model.
        evaluator: Makes what measures on the held-out part.
    """

    trainer: type[GuardedTrainer]
    arguments: type[BaseTrainingArguments]
    loss: Callable[[Any, Any], torch.nn.Module]
    evaluator: Callable[..., InformationRetrievalEvaluator]


def make_trainer(
    settings: TrainingSettings,
    parts: Parts,
    checkpoints: Path,
    model: Any,  # noqa: ANN401 - of the kind that the parts are for
    examples: "Dataset",
    held_out: "Dataset",
    callbacks: list[TrainerCallback],
    resumes: bool,
) -> GuardedTrainer:
    """Return a trainer that writes to `checkpoints` and to nowhere else.

    Args:
        settings: See `TrainingSettings`.
        parts: Of the kind of model.
        checkpoints: Folder.
        model: Trained in place.
        examples: As `data.open_examples` returns them.
        held_out: Measured on; may be empty.
        callbacks: Told of every step, before the guard of the weights looks whether one of them asks to save.
        resumes: The model was measured before its first step already.

    Raises:
        InputError: The precision is not to be had on this machine, or a data set is smaller than a batch.
    """
    model.model_card_data.generate_widget_examples = False  # each checkpoint would encode some for its README
    columns = dict.fromkeys(filter(is_text, examples.column_names), "document") | {"query": "query"}
    evaluator = _evaluator(settings, parts, held_out)
    if evaluator is None and (settings.early_stopping or settings.keeps_best):
        raise InputError("holdout: no query is held out, and nothing can be measured; hold out some by their number")
    fields = _fields(settings, checkpoints, evaluator is not None, resumes)
    fields |= samplers(settings, SCORES in examples.column_names)
    trainer = parts.trainer(
        model=model,
        args=parts.arguments(**fields, router_mapping=columns, prompts=_prompts(model, columns)),
        train_dataset=training_sets(examples, settings),
        loss=parts.loss(settings, model),
        evaluator=evaluator,
        callbacks=[*callbacks, *_steering(settings, evaluator is not None), GuardWeights(), TellEpoch()],
    )
    trainer.settings = settings
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)  # they write to stdout
    return trainer


def _steering(settings: TrainingSettings, measures: bool) -> list[TrainerCallback]:
    return [
        *([MeasureAtEnd(), KeepBest(settings)] if measures else []),
        *([Prune(settings)] if processes.is_first() else []),
    ]


def _fields(settings: TrainingSettings, checkpoints: Path, measures: bool, resumes: bool) -> dict[str, Any]:
    accelerated = torch.cuda.is_available()
    several = processes.count() > 1
    if torch.cuda.device_count() > 1 and not several:
        raise InputError(
            f"a process trains on one of the {torch.cuda.device_count()} GPUs: start one for each with torchrun "
            "--nproc-per-node, or choose one GPU with CUDA_VISIBLE_DEVICES=0"
        )
    if settings.precision == "fp16" and not accelerated:
        raise InputError("precision: fp16 needs a CUDA device, and there is none here; use bf16 or fp32")
    return {
        "output_dir": str(checkpoints),
        "per_device_train_batch_size": settings.batch_size,  # of all devices, since they split what is drawn
        "accelerator_config": {"split_batches": several},
        "gradient_accumulation_steps": settings.accumulation,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup,
        "lr_scheduler_type": SCHEDULERS[settings.scheduler],
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.grad_clip,
        "bf16": settings.precision == "bf16",
        "fp16": settings.precision == "fp16",
        "use_cpu": (settings.precision == "bf16" or several) and not accelerated,
        "seed": settings.seed,
        "dataloader_drop_last": True,  # a short last batch would have fewer negatives than the others
        "dataloader_pin_memory": accelerated,
        "logging_steps": settings.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if measures else "no",
        "eval_steps": settings.eval_every or TENTH_OF_A_RUN,
        "eval_on_start": measures and not resumes,
        "save_strategy": "steps",
        "save_steps": settings.save_every or TENTH_OF_A_RUN,
        "disable_tqdm": True,
        "report_to": "none",
    }


def _prompts(model: Any, columns: dict[str, str]) -> dict[str, str]:  # noqa: ANN401 - as above
    prompts = {column: model.prompts.get(kind) for column, kind in columns.items()}
    return {column: prompt for column, prompt in prompts.items() if prompt}


def _evaluator(settings: TrainingSettings, parts: Parts, held_out: "Dataset") -> InformationRetrievalEvaluator | None:
    if settings.dev:
        collection = dev_collection(settings.dev, settings.dev_split)
    elif len(held_out):
        collection = held_out_collection(held_out)
    else:
        return None
    return parts.evaluator(
        collection.queries,
        collection.documents,
        collection.relevant,
        precision_recall_at_k=[10, 100],
        batch_size=EVALUATION_BATCH,
        write_csv=False,
    )
