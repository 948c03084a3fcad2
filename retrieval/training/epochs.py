"""The epoch told to whatever orders the batches, however deep it is wrapped.

The trainer and accelerate look two wrappers deep. A run of several processes that resumes has three around its sampler
(what skips, what shares out, what loads), and in a later epoch would see the batches of the first one again. Imported
only once training starts, since it needs transformers.
"""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class TellEpoch(TrainerCallback):
    """Sets the epoch of the innermost samplers before an epoch's first batch."""

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,  # noqa: ANN401 - accelerate's, of many kinds
        **kwargs: object,
    ) -> None:
        """Look into the loader's wrappers; a fresh epoch begins at a whole number, a resumed one in the middle."""
        inner = train_dataloader.batch_sampler
        while hasattr(inner, "batch_sampler"):
            inner = inner.batch_sampler
        for sampler in (inner, inner.sampler):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(int(state.epoch or 0))
