"""Everything that decides how pre-training goes: the names are those of the flags and of the keys in a TOML file.

Nothing heavy is imported: a wrong setting is reported before torch is loaded.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...errors import InputError
from ..training.run_settings import RunSettings, check_ranges, check_start

LEAST_PACK = 8192
"""Tokens of a pack where neither the settings nor the context ask for more."""


@dataclass(frozen=True)
class Pretraining(RunSettings):
    """How to pre-train a ModernBERT; the defaults are those of its paper's base model where it has them.

    Attributes:
        output: Folder of the run and, at the end, of the model.
        data: Plain text files, or files, folders or data sets of rows with a text, read in this order.
        model: Masked language model to train further, a folder or a hub name; or else `init`.
        init: Size (tiny, mini, base, large) or JSON configuration of a new ModernBERT.
        tokenizer: Tokenizer of a new model, a folder or a hub name.
        tile_from: Smaller masked language model, a folder or a hub name, whose tokenizer a new model takes and whose
            weights it repeats in place of random ones.
        embeddings_from: Dense encoder whose vectors of the tokens' texts a new model's embeddings begin with; None
            draws them at random.
        split: Split of the data sets, where they have several.
        subset: Configuration of the data sets on a hub, where they have several.
        positions: Longest text in tokens (context), kept in the model; None as the model says.
        global_theta: RoPE base of the global layers, kept in the model; None as the model says.
        masked: Share of the tokens to predict.
        masking: What stands in their place: of ten "80-10-10" makes eight [MASK], one a random token, and leaves one as
            it is (BERT); "plain" makes all [MASK].
        pack_tokens: Tokens in memory at once, one pack; None takes 8,192, or `positions` if that is more.
        batch_size: Packs a step, whose gradients are added up.
        first_batch_size: Packs of the first step, from where the batch grows to `batch_size`.
        batch_warmup: Share of the steps in which it grows.
        epochs: Passes over the texts.
        max_steps: Steps of the run, whatever `epochs` says.
        learning_rate: Highest learning rate.
        warmup: Share of the steps in which the learning rate rises to it.
        decay: Share of the steps, the last ones, in which it falls to zero as 1 − √; in between it stays.
        weight_decay: What matrices shrink by in a step, times the learning rate; norms and biases do not.
        holdout: Texts kept out of training to measure on: a number, or below 1 a share.
        precision: Number format of the matrix products; weights and optimiser stay fp32.
        compile: Compile the layers with torch.compile; on CUDA only.
        gradient_checkpointing: Compute inner states of layers twice instead of keeping them: less memory, slower.
        seed: Of weights, held-out texts, order and masks.
        log_every: Steps between two lines of the log.
        eval_every: Steps between two measurements on the held-out texts; None ten times a run.
        save_every: Steps between two checkpoints; None ten times a run.
        resume: Go on from the newest checkpoint in `output`.
    """

    command: ClassVar[str] = "pretrain"

    data: tuple[str, ...] = ()
    model: str | None = None
    init: str | None = None
    tokenizer: str | None = None
    tile_from: str | None = None
    embeddings_from: str | None = None
    split: str | None = None
    subset: str | None = None
    positions: int | None = None
    global_theta: float | None = None
    masked: float = 0.3
    masking: Literal["80-10-10", "plain"] = "80-10-10"
    pack_tokens: int | None = None
    batch_size: int = 8
    first_batch_size: int | None = None
    batch_warmup: float = 0.0
    epochs: float = 1.0
    max_steps: int | None = None
    learning_rate: float = 8e-4
    warmup: float = 0.05
    decay: float = 0.1
    weight_decay: float = 0.01
    holdout: float = 0.01
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    gradient_checkpointing: bool = False
    seed: int = 12
    log_every: int = 10
    eval_every: int | None = None
    save_every: int | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, LOWEST, RANGES)
        check_start(self, "train further")
        if self.init and bool(self.tokenizer) == bool(self.tile_from):
            wanted = "the folder of a tokenizer (--tokenizer), or of a smaller model that brings one (--tile-from)"
            raise InputError(f"--init needs {wanted}, and not both")
        if self.embeddings_from and not self.tokenizer:
            raise InputError("embeddings_from goes with --init and --tokenizer; any other start brings its embeddings")
        if not self.data:
            raise InputError("no text to train on; name a file or data set with --data")
        if self.warmup + self.decay > 1:
            raise InputError(f"warmup {self.warmup:g} and decay {self.decay:g} are together more than the whole run")
        self._check_sizes()

    def _check_sizes(self) -> None:
        if self.first_batch_size is not None and self.first_batch_size > self.batch_size:
            raise InputError(f"first_batch_size: {self.first_batch_size} is more than batch_size, {self.batch_size}")
        if (self.first_batch_size is None) != (self.batch_warmup == 0):
            raise InputError("first_batch_size and batch_warmup go together: where a batch begins, and for how long")
        if self.positions and self.pack_tokens and self.positions > self.pack_tokens:
            raise InputError(f"pack_tokens: {self.pack_tokens} have no room for a text of {self.positions} positions")

    def capacity(self, positions: int) -> int:
        """Return the tokens of a pack for a network of so many positions.

        Raises:
            InputError: A pack has no room for a text.
        """
        if self.pack_tokens is None:
            return max(LEAST_PACK, positions)
        if self.pack_tokens < positions:
            raise InputError(f"pack_tokens: {self.pack_tokens} have no room for a text of {positions} positions")
        return self.pack_tokens


LOWEST: dict[str, float] = {
    "positions": 8,
    "pack_tokens": 8,
    "first_batch_size": 1,
    "max_steps": 1,
    "log_every": 1,
    "eval_every": 1,
    "save_every": 1,
    "global_theta": 1,
}
RANGES: dict[str, tuple[float, float]] = {
    "masked": (0.01, 0.99),
    "batch_size": (1, 1 << 20),
    "batch_warmup": (0, 1),
    "epochs": (1e-6, 1e6),
    "learning_rate": (1e-12, 10),
    "warmup": (0, 0.99),
    "decay": (0, 1),
    "weight_decay": (0, 10),
    "holdout": (0, 1e9),
    "seed": (0, 2**32 - 1),
}
