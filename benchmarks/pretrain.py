"""Tokens a second of masked-language modelling: this package's packs against the transformers Trainer's padded batches.

    python benchmarks/pretrain.py --data FILE.txt.zst [--layers 4] [--width 256] [--positions 512] [--tokens 100000]
        [--only fp32,bf16] [--threads 1] [--json FILE]

Both train the same ModernBERT (random weights, one seed) on the same texts of the same corpus, 30 % masked, with
about as many real tokens a step, in float32 and in bfloat16 mixed precision; steps are timed after a first one. The
Trainer has DataCollatorForLanguageModeling and takes texts in random order, as it does by default. Counted are real
tokens: padding is work, and no token. The two take turns.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from command import exit_code, matching, positive

from modernir.bench.report import environment, table
from modernir.errors import InputError
from modernir.retrieval.pretraining.corpus import Corpus, write_corpus
from modernir.retrieval.readers.plain import read_blocks
from modernir.retrieval.readers.rows import RowOptions

PRECISIONS = ("fp32", "bf16")
MASKED = 0.3
VOCABULARY = 16_384
TOKENIZER_BLOCKS = 20_000
PACK = 8192
SEED = 0


def prepare(options: argparse.Namespace, folder: Path) -> tuple[Any, Corpus]:
    """Learn a tokenizer from the start of the data, and tokenise as much as is needed.

    Raises:
        InputError: There is too little text.
    """
    from modernir.encoders.modernbert.tokenizer import train_tokenizer

    blocks = [block.text for block in islice(read_blocks(options.data), TOKENIZER_BLOCKS)]
    tokenizer = train_tokenizer(blocks, VOCABULARY)
    excerpt = folder / "excerpt.txt"
    excerpt.write_text("".join(blocks), encoding="utf-8")
    write_corpus([str(excerpt)], RowOptions(), tokenizer, options.positions, folder / "corpus")
    corpus = Corpus.open(folder / "corpus")
    if len(corpus.ids) < 4 * PACK:
        raise InputError(f"{options.data}: {len(corpus.ids):,} tokens are too few; give a file of some megabytes")
    return tokenizer, corpus


def configuration(options: argparse.Namespace, tokenizer: Any) -> Any:  # noqa: ANN401
    """Return the network's sizes; a head is 64 wide."""
    from dataclasses import replace

    from modernir.encoders.modernbert.config import one_global_in
    from modernir.encoders.modernbert.presets import config_for

    return replace(
        config_for("tiny", tokenizer),
        layers=options.layers,
        width=options.width,
        intermediate=options.width * 3 // 2,
        heads=max(options.width // 64, 1),
        global_layers=one_global_in(3, options.layers),
        positions=options.positions,
    )


def ours(config: Any, tokenizer: Any, corpus: Corpus, precision: str, tokens: int) -> float:  # noqa: ANN401
    """Return tokens a second of this package's steps."""
    import torch

    from modernir.encoders.modernbert.network import MaskedLanguageModel
    from modernir.retrieval.pretraining import loop
    from modernir.retrieval.pretraining.masking import Masking
    from modernir.retrieval.pretraining.packs import Supply
    from modernir.retrieval.pretraining.settings import Pretraining

    torch.manual_seed(SEED)
    settings = Pretraining(output="-", data=("-",), init="tiny", tokenizer="-", precision=precision, batch_size=1)
    device = torch.device("cpu")
    masking = Masking.of(tokenizer, MASKED, plain=False)
    supply = Supply(corpus, np.arange(len(corpus)), PACK, masking, SEED, device)
    network = MaskedLanguageModel(config).train()
    predict, optimizer = loop.predictor(network, settings, device), loop.make_optimizer(network, settings)
    seconds, done = 0.0, 0
    for number in range(tokens // PACK + 1):
        started = time.perf_counter()
        step = loop.gradients(predict, network, [supply.example(number)])
        loop.move(optimizer, settings, number, 1000)
        if number:
            seconds += time.perf_counter() - started
            done += step.tokens
    return done / seconds


def theirs(config: Any, tokenizer: Any, corpus: Corpus, precision: str, tokens: int) -> float:  # noqa: ANN401
    """Return tokens a second of the transformers Trainer's steps."""
    import torch
    from transformers import (
        DataCollatorForLanguageModeling,
        ModernBertConfig,
        ModernBertForMaskedLM,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    torch.manual_seed(SEED)
    mean = len(corpus.ids) / len(corpus)
    size = max(round(PACK / mean), 1)
    steps = tokens // PACK + 1
    texts = [{"input_ids": corpus.gather([text]).astype(np.int64).tolist()} for text in range(len(corpus))]
    seen: list[tuple[float, int]] = []

    class Counting(DataCollatorForLanguageModeling):
        """Counts the real tokens of each batch."""

        counts: list[int] = []  # noqa: RUF012 - one collator, one list

        def __call__(self, features: Any, return_tensors: Any = None) -> Any:  # noqa: ANN401
            self.counts.append(sum(len(feature["input_ids"]) for feature in features))
            return super().__call__(features, return_tensors)

    class Timing(TrainerCallback):
        """Notes when each step ends."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
            seen.append((time.perf_counter(), state.global_step))

    collator = Counting(tokenizer, mlm_probability=MASKED)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=size,
            bf16=precision == "bf16",
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            remove_unused_columns=False,
            seed=SEED,
        )
        model = ModernBertForMaskedLM(ModernBertConfig(**config.to_fields()))
        trainer = Trainer(model, arguments, data_collator=collator, train_dataset=texts, callbacks=[Timing()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return sum(collator.counts[1:steps]) / (seen[-1][0] - seen[0][0])


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, and write the JSON.

    Raises:
        InputError: The data cannot be read or are too little.
    """
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    precisions = matching(list(PRECISIONS), options.only)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, corpus = prepare(options, Path(folder))
        mean = len(corpus.ids) / len(corpus)
        config = configuration(options, tokenizer)
        rates: dict[str, dict[str, list[float]]] = {name: {"ours": [], "theirs": []} for name in precisions}
        for number in range(options.rounds):
            for precision in precisions:
                for name, measure in (("theirs", theirs), ("ours", ours)):
                    rates[precision][name].append(measure(config, tokenizer, corpus, precision, options.tokens))
                    sys.stderr.write(
                        f"round {number + 1}, {precision}, {name}: {rates[precision][name][-1]:,.0f} tokens/s\n"
                    )
    rows = [("precision", "transformers Trainer, tokens/s", "modernir, tokens/s", "ratio")]
    for precision, found in rates.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found["ours"], found["theirs"], strict=True))
        medians = [f"{statistics.median(found[name]):,.0f}" for name in ("theirs", "ours")]
        rows.append((precision, *medians, f"{ratio:.2f}"))
    about = environment(f"ModernBERT, {options.layers} layers, {options.width} wide", "cpu", options.threads)
    if options.json:
        options.json.write_text(json.dumps(about | {"rates": rates}, indent=2) + "\n")
    head = (
        f"{about['model']} on {about['processor']}, threads: {options.threads}; texts of {mean:.0f} tokens on average"
    )
    sys.stdout.write("\n".join([head, "", *table(rows)]) + "\n")


def main() -> int:
    """Read the command line and run; return the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="plain text, or rows with a text")
    parser.add_argument("--layers", type=positive, default=4)
    parser.add_argument("--width", type=positive, default=256)
    parser.add_argument("--positions", type=positive, default=512)
    parser.add_argument("--tokens", type=positive, default=100_000, help="real tokens to time, about")
    parser.add_argument("--rounds", type=positive, default=1)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--only", default="", help="fp32 or bf16")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return exit_code(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
