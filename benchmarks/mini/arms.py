"""The arms of the ablations: which commands make each model, and how it differs from the others.

One budget for all: 250 steps of 64 pairs, queries of 64 tokens and documents of 128, the network and tokenizer of the
mini models, the same pairs in the same order where the data are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Command = list[object]


@dataclass(frozen=True)
class Place:
    """Where things are.

    Attributes:
        prepared: Has network.json and tokenizer.
        work: Has pairs, and each step's output by its name.
        teacher_cache: Keeps the teacher's embeddings.
        text: Plain text to pre-train on.
    """

    prepared: Path
    work: Path
    teacher_cache: Path
    text: tuple[Path, ...]

    def pairs(self, folder: str = "pairs") -> list[Path]:
        """Return the files of pairs, or of those with negatives."""
        return [self.work / folder / path.name for path in sorted((self.work / "pairs").glob("*.jsonl.gz"))]


@dataclass(frozen=True)
class Step:
    """Commands that make one folder.

    Attributes:
        name: Of the folder.
        commands: From the place and the folder to the commands of modernir.
        needs: Steps whose folders they read.
        shared: Whether it is left out of what an arm costs.
    """

    name: str
    commands: Callable[[Place, Path], list[Command]]
    needs: tuple["Step", ...] = ()
    shared: bool = False


@dataclass(frozen=True)
class Arm:
    """A row of the table.

    Attributes:
        name: What `--only` chooses by, and the folder of its model; LEXICAL has none.
        cells: What the row says of it, as COLUMNS does.
        step: What makes the model; BM25 has none.
    """

    name: str
    cells: tuple[str, ...]
    step: Step | None = None


def wanted(step: Step | None) -> list[Step]:
    """Return a step and all that it needs, what is needed first."""
    if step is None:
        return []
    before = [one for need in step.needs for one in wanted(need)]
    return list(dict.fromkeys([*before, step]))


TEACHER = "all-MiniLM-L6-v2"
STEPS = 250
BUDGET: Command = [
    *("--mixing", 1.25, "--batch-size", 64, "--mini-batch-size", 64, "--warmup", 0.05, "--scheduler", "wsd"),
    *("--decay", 0.3, "--grad-clip", 2, "--weight-decay", 0.01, "--precision", "bf16", "--query-length", 64),
    *("--document-length", 128, "--holdout", 0, "--save-every", 1000, "--seed", 12),
]
LATE: Command = [
    *("--query-prompt", "", "--document-prompt", "", "--expansion", "none", "--skiplist", "signs"),
    *("--mean-scores", "--temperature", 0.04),
]
PRETRAINING: Command = [
    *("--positions", 512, "--pack-tokens", 4096, "--batch-size", 2, "--max-steps", STEPS, "--learning-rate", 2e-3),
    *("--decay", 0.3, "--precision", "bf16", "--holdout", 50, "--eval-every", STEPS, "--save-every", STEPS),
]


def new(place: Place, embeddings: bool) -> Command:
    """Return the flags of a network with random weights, and maybe the teacher's embeddings of its tokens."""
    made: Command = ["--init", place.prepared / "network.json", "--tokenizer", place.prepared / "tokenizer"]
    return made + (["--embeddings-from", TEACHER] if embeddings else [])


def trained(
    name: str,
    late: bool = False,
    start: Step | None = None,
    embeddings: bool = True,
    teacher: bool = True,
    negatives: Step | None = None,
    steps: int = STEPS,
) -> Step:
    """Return the step that trains a model.

    Args:
        name: Of the model's folder.
        late: Whether it is a ColBERT.
        start: Model to start from; None is a new network.
        embeddings: Whether a new one gets the teacher's embeddings.
        teacher: Whether it follows the teacher.
        negatives: What mined the negatives, if any.
        steps: Of the training.
    """

    def commands(place: Place, output: Path) -> list[Command]:
        flags = [*BUDGET, "--max-steps", steps, "--learning-rate", 1e-3 if late and start else 2e-3]
        flags += ["--model", place.work / start.name] if start else new(place, embeddings)
        if late:
            flags += [*LATE, *("--dim", 64)]
        if teacher:
            flags += ["--teacher", TEACHER, "--teacher-cache", place.teacher_cache]
            flags += [] if late else ["--embedding-weight", 10]
        flags += ["--negatives", 1] if negatives else []
        for file in place.pairs(negatives.name if negatives else "pairs"):
            flags += ["--data", file]
        return [["train-colbert" if late else "train-dense", *flags, "--output", output]]

    needs = [start, negatives, FILLED if teacher else None]
    return Step(name, commands, tuple(need for need in needs if need))


def filled(place: Place, output: Path) -> list[Command]:
    """Return the command that has the teacher encode all pairs, so that no arm is charged with it."""
    return trained("", teacher=True, steps=1).commands(place, output)


def pretrained(embeddings: bool) -> Callable[[Place, Path], list[Command]]:
    """Return what pre-trains a network on about as many tokens as a training reads."""

    def commands(place: Place, output: Path) -> list[Command]:
        text = [part for path in place.text for part in ("--data", path)]
        return [["pretrain", *new(place, embeddings), *PRETRAINING, *text, "--output", output]]

    return commands


def mined(source: Step | None) -> Callable[[Place, Path], list[Command]]:
    """Return what mines a negative for each pair among the texts of its own file, by BM25 or a model."""

    def commands(place: Place, output: Path) -> list[Command]:
        search: Command = ["--model", place.work / source.name] if source else ["--bm25"]
        how: Command = [*search, "--ranks", "5:50", "--negatives", 1]
        return [["mine-negatives", path, *how, "--output", output / path.name] for path in place.pairs()]

    return commands


FILLED = Step("teacher-filled", filled, shared=True)
BASE = trained("distilled")
RANDOM = trained("random-embeddings", embeddings=False)
ALONE = trained("no-teacher", teacher=False)
NOTHING = trained("no-teacher-random-embeddings", embeddings=False, teacher=False)
MLM = Step("mlm", pretrained(embeddings=False))
MLM_EMBEDDINGS = Step("mlm-embeddings", pretrained(embeddings=True))
BY_WORDS = Step("negatives-bm25", mined(None))
BY_MODEL = Step("negatives-model", mined(BASE), (BASE,))

LEXICAL = "lexical"
COLUMNS = ("model", "begins with", "learns from", "hard negatives", "steps", "claims", "functions", "core-seconds")
PAIRS, BOTH = "pairs", "pairs and teacher"
DRAWN, VECTORS = "random", "teacher's token vectors"


def _arm(name: str, kind: str, begins: str, learns: str, negatives: str, step: Step, steps: str = str(STEPS)) -> Arm:
    return Arm(name, (kind, begins, learns, negatives, steps), step)


ARMS = (
    Arm(LEXICAL, ("BM25", "", "", "", "")),
    _arm(BASE.name, "dense", VECTORS, BOTH, "", BASE),
    _arm(RANDOM.name, "dense", DRAWN, BOTH, "", RANDOM),
    _arm(ALONE.name, "dense", VECTORS, PAIRS, "", ALONE),
    _arm(NOTHING.name, "dense", DRAWN, PAIRS, "", NOTHING),
    _arm("mlm-pairs", "dense", f"MLM from {DRAWN}", PAIRS, "", trained("mlm-pairs", start=MLM, teacher=False)),
    _arm("mlm-teacher", "dense", f"MLM from {VECTORS}", BOTH, "", trained("mlm-teacher", start=MLM_EMBEDDINGS)),
    _arm("hard-bm25", "dense", VECTORS, BOTH, "BM25", trained("hard-bm25", negatives=BY_WORDS)),
    _arm("hard-model", "dense", VECTORS, BOTH, "row 2's", trained("hard-model", negatives=BY_MODEL)),
    _arm("longer", "dense", VECTORS, BOTH, "", trained("longer", steps=2 * STEPS), str(2 * STEPS)),
    _arm("late", "ColBERT", VECTORS, BOTH, "", trained("late", late=True)),
    _arm("late-no-teacher", "ColBERT", VECTORS, PAIRS, "", trained("late-no-teacher", late=True, teacher=False)),
    _arm("late-on-dense", "ColBERT", "row 2's", BOTH, "", trained("late-on-dense", late=True, start=BASE), "250 + 250"),
)
