"""sentence-transformers' trainer as our settings ask for it, with two additions.

Batches are ordered by length: the contrastive loss does not see the order of a batch, and the chunks that GradCache
cuts from a sorted one hold texts of like length and next to no padding. And a loss that is no number ends the run.
Imported only once training starts, since it needs torch.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from ...errors import InputError
from .callbacks import GuardWeights, MeasureAtEnd, not_finite
from .data import held_out_collection
from .settings import TrainingSettings

if TYPE_CHECKING:
    from datasets import Dataset

CHECKPOINTS_KEPT = 2
TENTH_OF_A_RUN = 0.1
EVALUATION_BATCH = 64


class LengthSortedCollator(SentenceTransformerDataCollator):
    """Puts the examples of a batch in the order of their positive's length."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the tokenised batch."""
        return super().__call__(sorted(features, key=lambda row: len(row["positive"])))


class DenseTrainer(SentenceTransformerTrainer):
    """Trains on batches sorted by length and refuses a loss that is not finite."""

    data_collator_class = LengthSortedCollator

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - the trainer's
        """Take one step.

        Raises:
            ModernirError: The loss is not finite; no checkpoint was written with it.
        """
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise not_finite(self.state.global_step + 1, f"losses (found {loss.item()})", self.args.output_dir)
        return loss


def make_trainer(
    settings: TrainingSettings,
    checkpoints: Path,
    model: SentenceTransformer,
    examples: "Dataset",
    held_out: "Dataset",
    callbacks: list[TrainerCallback],
    resumes: bool,
) -> DenseTrainer:
    """Return a trainer that writes to `checkpoints` and to nowhere else.

    Args:
        settings: See `TrainingSettings`.
        checkpoints: Folder.
        model: Trained in place.
        examples: Columns query, positive, negative_1 and so on.
        held_out: Measured on; may be empty.
        callbacks: Told of every step, before the guard of the weights looks whether one of them asks to save.
        resumes: The model was measured before its first step already.

    Raises:
        InputError: The precision is not to be had on this machine.
    """
    model.model_card_data.generate_widget_examples = False  # it costs a progress bar and publishes training texts
    columns = dict.fromkeys(examples.column_names, "document") | {"query": "query"}
    trainer = DenseTrainer(
        model=model,
        args=_arguments(settings, checkpoints, columns, _prompts(model, columns), len(held_out) > 0, resumes),
        train_dataset=examples,
        loss=make_loss(settings, model),
        evaluator=_evaluator(held_out) if len(held_out) else None,
        callbacks=[*callbacks, *([MeasureAtEnd()] if len(held_out) else []), GuardWeights()],
    )
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)  # they write to stdout
    return trainer


def make_loss(settings: TrainingSettings, model: SentenceTransformer) -> CachedMultipleNegativesRankingLoss:
    """Return the in-batch contrastive loss with cached gradients."""
    return CachedMultipleNegativesRankingLoss(
        model, scale=1 / settings.temperature, mini_batch_size=min(settings.mini_batch_size, settings.batch_size)
    )


def _arguments(
    settings: TrainingSettings,
    checkpoints: Path,
    columns: dict[str, str],
    prompts: dict[str, str],
    measures: bool,
    resumes: bool,
) -> SentenceTransformerTrainingArguments:
    accelerated = torch.cuda.is_available()
    if torch.cuda.device_count() > 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("training uses one device: choose it with CUDA_VISIBLE_DEVICES=0 and start one process")
    if settings.precision == "fp16" and not accelerated:
        raise InputError("precision: fp16 needs a CUDA device, and there is none here; use bf16 or fp32")
    return SentenceTransformerTrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        use_cpu=settings.precision == "bf16" and not accelerated,
        seed=settings.seed,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        dataloader_drop_last=True,  # a short last batch would have fewer negatives than the others
        dataloader_pin_memory=accelerated,
        router_mapping=columns,
        prompts=prompts,
        logging_steps=settings.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if measures else "no",
        eval_steps=settings.eval_every or TENTH_OF_A_RUN,
        eval_on_start=measures and not resumes,
        save_strategy="steps",
        save_steps=settings.save_every or TENTH_OF_A_RUN,
        save_total_limit=CHECKPOINTS_KEPT,
        disable_tqdm=True,
        report_to="none",
    )


def _prompts(model: SentenceTransformer, columns: dict[str, str]) -> dict[str, str]:
    prompts = {column: model.prompts.get(kind) for column, kind in columns.items()}
    return {column: prompt for column, prompt in prompts.items() if prompt}


def _evaluator(held_out: "Dataset") -> InformationRetrievalEvaluator:
    collection = held_out_collection(held_out)
    return InformationRetrievalEvaluator(
        collection.queries,
        collection.documents,
        collection.relevant,
        precision_recall_at_k=[10, 100],
        batch_size=EVALUATION_BATCH,
        write_csv=False,
    )
