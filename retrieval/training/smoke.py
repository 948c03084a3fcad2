"""A recipe tried out in a minute: the very settings, with substitutes for what is large or has to be fetched.

A tiny network with random weights stands for the named one, a few made-up examples for the data, and a few steps for
the run; what is learnt, and how, stays. What comes out loads like any model, and is good for nothing else.
"""

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .run_settings import RunSettings

if TYPE_CHECKING:
    from ..pretraining.settings import Pretraining
    from .settings import TrainingSettings

S = TypeVar("S", bound=RunSettings)
T = TypeVar("T", bound="TrainingSettings")

STEPS = 3
BATCH = 8
EXAMPLES = 40
NEGATIVES = 3
LENGTHS = {"query_length": 16, "document_length": 32}
CONTEXT = 64
WORDS = [f"{first}{second}" for first in ("ba", "do", "fe", "gi", "ku") for second in ("la", "mi", "no", "ru", "se")]
TEACHER = "modernir-mini-dense"
"""Takes the place of every model that is followed: it comes with the package."""


@contextmanager
def substituted(settings: S, wanted: bool, substitute: Callable[[S, Path], S]) -> Iterator[S]:
    """Yield the settings, or with `wanted` those of a run of substitutes, which are there as long as the block.

    Args:
        settings: A recipe's.
        wanted: Whether to substitute.
        substitute: `small_training` or `small_pretraining`.
    """
    if not wanted:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="modernir-smoke-") as folder:
        yield substitute(settings, Path(folder))


def small_training(settings: T, folder: Path) -> T:
    """Return the settings of a few steps on made-up examples, with a tiny new network.

    Args:
        settings: Of a dense model or a ColBERT.
        folder: For the substitutes.
    """
    fewest = max(settings.negatives or 0, settings.scored_negatives)
    negatives = max(fewest, NEGATIVES) if settings.negatives != 0 else 0
    # mixed, each data set must fill a batch even if all that is held out came from it
    rows = _examples(negatives, max(EXAMPLES, 2 * BATCH * len(settings.data)))
    small: dict[str, Any] = {name: min(getattr(settings, name) or most, most) for name, most in LENGTHS.items()}
    if settings.lora_rank:
        small["lora_rank"] = min(settings.lora_rank, BATCH)
    for name in ("teacher", "embeddings_from"):
        small[name] = getattr(settings, name) and TEACHER
    return replace(
        settings,
        **small,
        data=tuple(
            _write_rows(folder / f"data-{n}.jsonl", rows[n :: len(settings.data)]) for n in range(len(settings.data))
        ),
        model=None,
        init=str(_network(folder)),
        tokenizer=None,
        teacher_cache=None,
        split=None,
        subset=None,
        dev=None,
        batch_size=min(settings.batch_size, BATCH),
        mini_batch_size=min(settings.mini_batch_size, BATCH // 2),
        accumulation=min(settings.accumulation, 2),
        max_steps=STEPS,
        holdout=BATCH // 2,
        log_every=1,
        eval_every=STEPS,
        save_every=STEPS,
    )


def small_pretraining(settings: "Pretraining", folder: Path) -> "Pretraining":
    """Return the settings of a few steps on made-up text, with a tiny network in the place of each that is named.

    Args:
        settings: Of pre-training.
        folder: For the substitutes.
    """
    from ...encoders.modernbert.tokenizer import train_tokenizer

    texts = [f"{row['query']} {row['positive']}" for row in _examples(0)] * 4
    data = folder / "data.txt"
    data.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    tokenizer = folder / "tokenizer"
    train_tokenizer(texts, 384).save_pretrained(str(tokenizer))
    small = replace(
        settings,
        data=(str(data),),
        model=None,
        tile_from=None,
        init=str(_network(folder)),
        tokenizer=str(tokenizer),
        embeddings_from=settings.embeddings_from and TEACHER,
        split=None,
        subset=None,
        positions=settings.positions and min(settings.positions, CONTEXT),
        pack_tokens=2 * CONTEXT,
        batch_size=min(settings.batch_size, 4),
        first_batch_size=settings.first_batch_size and min(settings.first_batch_size, 2),
        max_steps=STEPS,
        holdout=BATCH,
        compile=False,
        log_every=1,
        eval_every=STEPS,
        save_every=STEPS,
    )
    if not (settings.model or settings.tile_from):
        return small
    begun = str(_pretrained(replace(small, output=str(folder / "begun"), max_steps=1)))
    if settings.model:
        return replace(small, model=begun, init=None, tokenizer=None)
    return replace(small, tile_from=begun, tokenizer=None, init=str(_network(folder, layers=3)))


def _pretrained(settings: "Pretraining") -> Path:
    from ..pretraining.run import pretrain

    return pretrain(settings)


def _network(folder: Path, layers: int = 2) -> Path:
    from ...encoders.modernbert.presets import config_for

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers, "num_attention_heads": 2}
    context = {"max_position_embeddings": CONTEXT, "vocab_size": 384, "layer_types": None}
    path = folder / f"network-{layers}.json"
    path.write_text(json.dumps(config_for("tiny").to_fields() | shape | context), encoding="utf-8")
    return path


def _examples(negatives: int, count: int = EXAMPLES) -> list[Mapping[str, Any]]:
    """Return examples of made-up words, with a teacher's scores where there are negatives."""
    draw = random.Random(0)
    rows: list[Mapping[str, Any]] = []
    for number in range(count):
        asked = [*draw.sample(WORDS, 3), str(number)]
        others = [" ".join(draw.sample(WORDS, 6)) for _ in range(negatives)]
        row = {"query": " ".join(asked), "positive": " ".join([*asked, *draw.sample(WORDS, 4)])}
        scores = [1.0, *(round(draw.uniform(0, 0.5), 3) for _ in others)]
        rows.append(row | ({"negatives": others, "scores": scores} if others else {}))
    return rows


def _write_rows(path: Path, rows: list[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
