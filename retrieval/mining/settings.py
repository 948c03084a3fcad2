"""What decides how negatives are mined, in one frozen object whose fields are the flags of the command."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ...errors import InputError
from ..modes import MODES

Pick = Literal["top", "random"]
NOT_DECIDING = ("pairs", "output", "mode", "scores_from", "device", "precision", "block", "overwrite")
"""What leaves the file as it is, or is told apart by what stands behind the name."""


@dataclass(frozen=True)
class Mining:
    """For which pairs negatives are searched, where, and which of those found are taken.

    Attributes:
        pairs: Files, BEIR folders or data sets with training examples; negatives that they bring are not kept.
        output: The file to write: .jsonl, .jsonl.gz or .jsonl.zst.
        index: An index to search. Or else `model`, or `bm25`.
        model: An encoder; an index of its vectors is built for the time of the run.
        bm25: Search by words, in an index without vectors that is built for the time of the run.
        corpus: What to build an index of: a file, a BEIR folder or a data set; None takes the positives of the pairs.
        mode: "dense" or "late", as the vectors are, "lexical" or "hybrid"; None goes by the vectors.
        exact: Compare with every document, where vectors are searched.
        ranks: First and last rank of the search that negatives are taken from, such as "10:100".
        negatives: How many a pair, at most.
        pick: Take the first that are allowed, or draw them at random.
        max_score: Leave out documents with a higher score.
        margin: Leave out documents whose score is not by so much below the positive's.
        ratio: Leave out documents whose score is above this share of the positive's.
        scores: Write the index's scores, of the positive and then of each negative.
        scores_from: A model whose scores are written, and gone by, in place of the index's.
        cross_encoder: Take that model for a cross-encoder, whatever its files say.
        split: Split of the data sets, and whose judgements of a BEIR folder; None is `train` there.
        subset: Configuration of the data sets on a hub.
        seed: Of random picks.
        block: Examples that are searched for together.
        device: Where models run; None takes the best there is.
        precision: Of models; None takes the fastest that keeps quality, or the index's.
        overwrite: Replace a file that is there, or an unfinished run with other settings.

    Raises:
        InputError: A value is out of range, or settings contradict each other.
    """

    pairs: tuple[str, ...]
    output: Path
    index: Path | None = None
    model: str | None = None
    bm25: bool = False
    corpus: str | None = None
    mode: str | None = None
    exact: bool = False
    ranks: str = "10:100"
    negatives: int = 5
    pick: Pick = "top"
    max_score: float | None = None
    margin: float | None = None
    ratio: float | None = None
    scores: bool = False
    scores_from: str | None = None
    cross_encoder: bool = False
    split: str | None = None
    subset: str | None = None
    seed: int = 12
    block: int = 4096
    device: str | None = None
    precision: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        self._check_places()
        self._check_numbers()
        if self.scores and self.scores_from:
            raise InputError("give --scores for those of the index or --scores-from for those of a model, not both")
        if self.cross_encoder and not self.scores_from:
            raise InputError("--cross-encoder says what --scores-from names; name a model there")
        if self.mode == "hybrid" and self.needs_own_scores:
            raise InputError(
                "scores of a hybrid search are relative to its own list; leave out --scores, --max-score, --margin and "
                "--ratio, name a model with --scores-from, or search with one --mode"
            )

    def _check_places(self) -> None:
        if not self.pairs:
            raise InputError("no pairs; name files or data sets of queries and positives")
        chosen = [name for name in ("index", "model", "bm25") if getattr(self, name)]
        if len(chosen) != 1:
            raise InputError(f"expected one of --index, --model and --bm25, found {' and '.join(chosen) or 'none'}")
        if self.index and self.corpus:
            raise InputError("--corpus is what an index is built of; leave it out with --index")
        if self.mode is not None and self.mode not in MODES:
            raise InputError(f"unknown mode {self.mode!r}; expected one of {', '.join(MODES)}")
        if self.bm25 and self.mode not in (None, "lexical"):
            raise InputError(f"--bm25 searches by words alone; leave out --mode {self.mode}, or name a --model")
        if self.exact and (self.bm25 or self.mode == "lexical"):
            raise InputError("--exact is for searches by vectors; a search by words is exact as it is")

    def _check_numbers(self) -> None:
        first, last = self.rank_range
        if not 1 <= first <= last:
            raise InputError(f"ranks {self.ranks}: expected a first rank of at least 1, and a last one not before it")
        for name in ("negatives", "block"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if self.negatives > last - first + 1:
            raise InputError(f"{self.negatives} negatives are more than the ranks {self.ranks} hold; widen them")
        if self.pick not in ("top", "random"):
            raise InputError(f"pick: expected top or random, found {self.pick!r}")
        if self.margin is not None and not self.margin >= 0:
            raise InputError(f"margin: expected 0 or more, found {self.margin}")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise InputError(f"ratio: expected more than 0 and at most 1, found {self.ratio}")

    @property
    def rank_range(self) -> tuple[int, int]:
        """First and last rank, from 1.

        Raises:
            InputError: `ranks` is not two whole numbers.
        """
        first, _, last = self.ranks.partition(":")
        if not (first.isdecimal() and last.isdecimal()):
            raise InputError(f"ranks {self.ranks}: expected two whole numbers such as 10:100")
        return int(first), int(last)

    @property
    def by_words(self) -> bool:
        """Whether no vectors are searched."""
        return self.bm25 or self.mode == "lexical"

    @property
    def filters(self) -> bool:
        """Whether scores decide which documents are allowed."""
        return any(value is not None for value in (self.max_score, self.margin, self.ratio))

    @property
    def needs_own_scores(self) -> bool:
        """Whether the scores of the search itself are needed."""
        return self.scores or (self.filters and not self.scores_from)

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide what is written, as JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in NOT_DECIDING}
        return values | {name: values[name] and _place(values[name]) for name in ("index", "model", "corpus")}


def _place(name: str | Path) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else str(name)
