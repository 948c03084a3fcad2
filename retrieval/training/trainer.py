"""sentence-transformers' trainers as our settings ask for them, with two additions.

Batches are ordered by length: the losses do not see the order of a batch, and the chunks that GradCache cuts from a
sorted one hold texts of like length and next to no padding. And a loss that is no number ends the run. Imported only
once training starts, since it needs torch.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.data_collator import BaseDataCollator
from sentence_transformers.base.trainer import BaseTrainer
from sentence_transformers.base.training_args import BaseTrainingArguments, BatchSamplers
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from ...errors import InputError
from .callbacks import GuardWeights, MeasureAtEnd, not_finite
from .data import SCORES, held_out_collection
from .settings import TrainingSettings

if TYPE_CHECKING:
    from datasets import Dataset

CHECKPOINTS_KEPT = 2
TENTH_OF_A_RUN = 0.1
EVALUATION_BATCH = 64


class LengthSorted(BaseDataCollator):
    """Puts the examples of a batch in the order of their positive's length."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the tokenised batch."""
        return super().__call__(sorted(features, key=lambda row: len(row["positive"])))


class GuardedTrainer(BaseTrainer):
    """Refuses a loss that is not finite, and keeps the training texts out of the model's README."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add nothing: what writes the README as training goes quotes examples there."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - the trainer's
        """Take one step.

        Raises:
            ModernirError: The loss is not finite; no checkpoint was written with it.
        """
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise not_finite(self.state.global_step + 1, f"losses (found {loss.item()})", self.args.output_dir)
        return loss


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
        examples: Columns query, positive, negative_1 and so on, and scores where the loss follows a teacher's.
        held_out: Measured on; may be empty.
        callbacks: Told of every step, before the guard of the weights looks whether one of them asks to save.
        resumes: The model was measured before its first step already.

    Raises:
        InputError: The precision is not to be had on this machine.
    """
    model.model_card_data.generate_widget_examples = False  # each checkpoint would encode some for its README
    columns = dict.fromkeys(examples.column_names, "document") | {"query": "query"}
    scored = columns.pop(SCORES, None) is not None
    fields = _fields(settings, checkpoints, len(held_out) > 0, resumes)
    if not scored:  # what tells an example's own documents apart does not mind what others have
        fields["batch_sampler"] = BatchSamplers.NO_DUPLICATES
    trainer = parts.trainer(
        model=model,
        args=parts.arguments(**fields, router_mapping=columns, prompts=_prompts(model, columns)),
        train_dataset=examples,
        loss=parts.loss(settings, model),
        evaluator=_evaluator(parts, held_out) if len(held_out) else None,
        callbacks=[*callbacks, *([MeasureAtEnd()] if len(held_out) else []), GuardWeights()],
    )
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)  # they write to stdout
    return trainer


def _fields(settings: TrainingSettings, checkpoints: Path, measures: bool, resumes: bool) -> dict[str, Any]:
    accelerated = torch.cuda.is_available()
    if torch.cuda.device_count() > 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("training uses one device: choose it with CUDA_VISIBLE_DEVICES=0 and start one process")
    if settings.precision == "fp16" and not accelerated:
        raise InputError("precision: fp16 needs a CUDA device, and there is none here; use bf16 or fp32")
    return {
        "output_dir": str(checkpoints),
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulation,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup,
        "bf16": settings.precision == "bf16",
        "fp16": settings.precision == "fp16",
        "use_cpu": settings.precision == "bf16" and not accelerated,
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
        "save_total_limit": CHECKPOINTS_KEPT,
        "disable_tqdm": True,
        "report_to": "none",
    }


def _prompts(model: Any, columns: dict[str, str]) -> dict[str, str]:  # noqa: ANN401 - as above
    prompts = {column: model.prompts.get(kind) for column, kind in columns.items()}
    return {column: prompt for column, prompt in prompts.items() if prompt}


def _evaluator(parts: Parts, held_out: "Dataset") -> InformationRetrievalEvaluator:
    collection = held_out_collection(held_out)
    return parts.evaluator(
        collection.queries,
        collection.documents,
        collection.relevant,
        precision_recall_at_k=[10, 100],
        batch_size=EVALUATION_BATCH,
        write_csv=False,
    )
