"""One block of pairs: searched, judged, picked from, and written down as rows."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..readers.examples import TrainingExample
from ..readers.rows import blocks
from .choose import Candidates, allowed, in_range, order_of_picks
from .collection import Collection, Found
from .positives import Positives, text_hash
from .settings import Mining
from .teachers import Asked, EncoderTeacher, Teacher, scored

RESCORED_AT_ONCE = 64
"""Pairs whose candidates' texts are in memory together while a teacher scores all of them."""


class Miner:
    """Finds the negatives of one block of pairs after the other.

    Args:
        settings: Of the run.
        collection: Where to search.
        positives: Of all pairs, located in the collection.
        teacher: Whose scores are gone by and written in place of the search's; None for none.
    """

    def __init__(self, settings: Mining, collection: Collection, positives: Positives, teacher: Teacher | None) -> None:
        self._settings = settings
        self._collection = collection
        self._positives = positives
        self._teacher = teacher

    def mine(self, examples: Sequence[TrainingExample], start: int) -> tuple[list[dict[str, Any]], Counter[str]]:
        """Return the rows of a block, and the sums of its closing line.

        Args:
            examples: The block.
            start: Number of its first example in the whole input.
        """
        counts: Counter[str] = Counter()
        pairs = self._candidates(examples, counts)
        places = [allowed(pair, self._settings, counts) for pair in pairs]
        picks = [order_of_picks(row, self._settings, number) for number, row in enumerate(places, start)]
        self._take(pairs, picks, counts)
        written = [pair for pair in pairs if pair.negatives and not self._lacks_score(pair)]
        counts["unscored"] += sum(map(self._lacks_score, pairs))
        counts["none"] += len(pairs) - len(written)
        counts["few"] += sum(len(pair.negatives) < self._settings.negatives for pair in written)
        counts["negatives"] += sum(len(pair.negatives) for pair in written)
        return self._rows(written), counts

    def _candidates(self, examples: Sequence[TrainingExample], counts: Counter[str]) -> list[Candidates]:
        queries = list(dict.fromkeys(example.query for example in examples))
        found = self._collection.search(queries, self._settings.rank_range[1])
        hits = dict(zip(queries, found.hits, strict=True))
        answers = {query: self._positives.ids_of_query(query) for query in queries}
        pairs = [
            Candidates(
                example.query,
                example.positive,
                *in_range(hits[example.query], answers[example.query], self._settings, counts),
            )
            for example in examples
        ]
        if self._settings.needs_own_scores:
            self._score_positives(pairs, found)
        elif self._teacher is not None and self._settings.filters:
            self._rescore(pairs, self._teacher)
        return pairs

    def _score_positives(self, pairs: Sequence[Candidates], found: Found) -> None:
        """Give the positives their scores in the measure of the search."""
        known = [dict(hits) for hits in found.hits]
        number = {query: place for place, query in enumerate(found.queries)}
        asked: list[dict[str, list[Candidates]]] = [defaultdict(list) for _ in known]
        absent = []
        for pair in pairs:
            ids = self._positives.ids_of_text(pair.positive)
            query = number[pair.query]
            scores = [known[query][identifier] for identifier in ids if identifier in known[query]]
            if scores:
                pair.positive_score = scores[0]
            elif ids:
                asked[query][ids[0]].append(pair)
            else:
                absent.append(pair)
        missing = self._collection.scores(found, [list(row) for row in asked])
        for row, values in zip(asked, missing, strict=True):
            for holders, score in zip(row.values(), values.tolist(), strict=True):
                for pair in holders:
                    pair.positive_score = score
        if absent and self._collection.mode != "lexical":  # what BM25 would give it, only an index that holds it knows
            encoder = EncoderTeacher(self._collection.retriever.encoder)
            questions = (Asked(pair.query, [pair.positive]) for pair in absent)
            for pair, (score,) in zip(absent, scored(encoder, questions), strict=True):
                pair.positive_score = score

    def _rescore(self, pairs: Sequence[Candidates], teacher: Teacher) -> None:
        """Put a teacher's scores in the place of the search's, and the candidates in their order."""
        for block in blocks(pairs, RESCORED_AT_ONCE):
            texts = self._texts(identifier for pair in block for identifier in pair.ids)
            for pair in block:
                pair.ids = [identifier for identifier in pair.ids if identifier in texts]
            asked = (Asked(pair.query, [pair.positive, *(texts[name] for name in pair.ids)]) for pair in block)
            for pair, (own, *others) in zip(block, scored(teacher, asked), strict=True):
                order = np.argsort(-np.asarray(others, np.float64), kind="stable")
                pair.positive_score = own
                pair.ids = [pair.ids[place] for place in order]
                pair.scores = np.asarray(others, np.float64)[order]

    def _take(self, pairs: Sequence[Candidates], picks: Sequence[list[int]], counts: Counter[str]) -> None:
        """Fill each pair's negatives in the order of its picks; texts that repeat one another count once."""
        wanted = self._settings.negatives
        seen: list[set[int]] = [set() for _ in pairs]
        waiting = [number for number, pick in enumerate(picks) if pick]
        while waiting:
            drawn = {
                n: [picks[n].pop(0) for _ in range(min(wanted - len(pairs[n].negatives), len(picks[n])))]
                for n in waiting
            }
            texts = self._texts(pairs[n].ids[place] for n, places in drawn.items() for place in places)
            for n, places in drawn.items():
                for place in places:
                    text = texts.get(pairs[n].ids[place])
                    if text is None:
                        counts["empty"] += 1
                    elif text_hash(text) in seen[n]:
                        counts["repeated"] += 1
                    else:
                        seen[n].add(text_hash(text))
                        pairs[n].negatives.append((place, text))
            waiting = [n for n in waiting if picks[n] and len(pairs[n].negatives) < wanted]
        for pair in pairs:
            pair.negatives.sort()

    def _texts(self, ids: Any) -> dict[str, str]:  # noqa: ANN401 - any iterable of ids
        documents = self._collection.index.documents(list(dict.fromkeys(ids)))
        return {name: document.content for name, document in documents.items() if document.content.strip()}

    def _lacks_score(self, pair: Candidates) -> bool:
        """Say whether the positive's score is asked for, and not known."""
        asked = self._settings.scores or self._settings.margin is not None or self._settings.ratio is not None
        return asked and self._teacher is None and pair.positive_score is None

    def _rows(self, pairs: Sequence[Candidates]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [
            {"query": pair.query, "positive": pair.positive, "negatives": [text for _, text in pair.negatives]}
            for pair in pairs
        ]
        for row, scores in zip(rows, self._scores(pairs), strict=False):
            row["scores"] = [rounded(score) for score in scores]
        return rows

    def _scores(self, pairs: Sequence[Candidates]) -> list[list[float]]:
        """Return the scores to write, the positive's and then its negatives', or nothing where none are asked for."""
        if self._teacher is not None and not self._settings.filters:
            asked = (Asked(pair.query, [pair.positive, *(text for _, text in pair.negatives)]) for pair in pairs)
            return list(scored(self._teacher, asked))
        if self._teacher is None and not self._settings.scores:
            return []
        return [
            [pair.positive_score or 0.0, *(float(pair.scores[place]) for place, _ in pair.negatives)] for pair in pairs
        ]


def rounded(score: float) -> float:
    """Return a score in the digits that float32, in which training reads it, can tell apart."""
    return float(f"{score:.8g}")
