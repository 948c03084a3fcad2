"""MLDR: long documents in 13 languages (Chen et al. 2024, arXiv 2402.03216), one benchmark a language.

Sizes are those of the data set's card. The training split is examples with negatives and no judgements of a corpus, so
it is not here.
"""

from .entry import Entry, HubFiles
from .layouts import MLDR
from .published import M3_SYSTEMS, MLDR_M3, MODERNBERT_MLDR

DOCUMENTS = {
    "ar": 7607, "de": 10_000, "en": 200_000, "es": 9551, "fr": 10_000, "hi": 3806, "it": 10_000,
    "ja": 10_000, "ko": 6176, "pt": 6569, "ru": 10_000, "th": 10_000, "zh": 200_000,
}  # fmt: skip
QUERIES = {"en": 800, "zh": 800}
"""The other languages have 200."""
SPLITS = ("dev", "test")


def _entry(language: str) -> Entry:
    files = {split: f"mldr-v1.0-{language}/{split}.jsonl.gz" for split in SPLITS}
    published = dict(zip(M3_SYSTEMS, MLDR_M3[language], strict=True))
    if language == "en":
        published |= MODERNBERT_MLDR
    return Entry(
        f"mldr/{language}",
        DOCUMENTS[language],
        QUERIES.get(language, 200),
        "MIT",
        SPLITS,
        published=published,
        languages=(language,),
        hub=HubFiles(
            "Shitao/MLDR",
            "d67138e705d963e346253a80e59676ddb418810a",
            MLDR,
            corpus=f"mldr-v1.0-{language}/corpus.jsonl.gz",
            queries=tuple(files.values()),
            qrels=files,
        ),
    )


ENTRIES = tuple(_entry(language) for language in DOCUMENTS)
