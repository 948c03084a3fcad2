"""Code: CodeSearchNet in both directions and its challenge, CoSQA, StackOverflowQA.

CodeSearchNet, CoSQA and StackOverflowQA have the form of CoIR (Li et al. 2024, arXiv 2407.02883), where a function of
CodeSearchNet is the query and its documentation is searched for. Sizes are those of mteb's descriptive statistics, and
the licences those that mteb states.
"""

from .entry import Entry, HubFiles
from .layouts import BEIR, BEIR_REVERSED, Layout
from .published import MODERNBERT_STACKOVERFLOW

SPLITS = ("train", "valid", "test")

CODESEARCHNET = {
    "go": (182_440, 8122),
    "java": (180_866, 10_955),
    "javascript": (64_854, 3291),
    "php": (267_725, 14_014),
    "python": (280_310, 14_918),
    "ruby": (27_570, 1261),
}
"""Language to documentation texts and judged functions."""

LICENCE = "MIT (as mteb states); functions under their projects' licences"

CHALLENGE = (
    "CodeSearchNet's challenge publishes queries, grades and addresses of functions"
    " (github/CodeSearchNet, resources/annotationStore.csv) but not the functions;"
    " point --data at a folder in BEIR's layout that holds them"
)


def _files(repository: str, revision: str, layout: Layout, parts: tuple[str, str, str]) -> HubFiles:
    corpus, queries, qrels = parts
    by_split = {split: f"{qrels}/{split}-*.parquet" for split in SPLITS}
    return HubFiles(repository, revision, layout, f"{corpus}-*.parquet", (f"{queries}-*.parquet",), by_split)


def _codesearchnet(language: str, name: str, layout: Layout) -> Entry:
    reverse = layout is BEIR_REVERSED
    corpus, queries = f"{language}-corpus/corpus", f"{language}-queries/queries"
    parts = (queries, corpus, f"{language}-qrels") if reverse else (corpus, queries, f"{language}-qrels")
    documents, judged = (None, None) if reverse else CODESEARCHNET[language]
    hub = _files("CoIR-Retrieval/CodeSearchNet", "4adc7bc41202b5c13543c9c886a25f340634dab3", layout, parts)
    return Entry(f"{name}/{language}", documents, judged, LICENCE, SPLITS, languages=("en", language), hub=hub)


def _coir(name: str, revision: str, documents: int, queries: int, published: dict[str, float]) -> Entry:
    parts = ("corpus/corpus", "queries/queries", "data")
    hub = _files(f"CoIR-Retrieval/{name}", revision, BEIR, parts)
    return Entry(name, documents, queries, "MIT (as mteb states)", SPLITS, published=published, hub=hub)


ENTRIES = (
    *(_codesearchnet(language, "codesearchnet", BEIR) for language in CODESEARCHNET),
    *(_codesearchnet(language, "codesearchnet-reversed", BEIR_REVERSED) for language in CODESEARCHNET),
    *(
        Entry(
            f"codesearchnet-challenge/{language}", None, None, f"queries and grades {LICENCE}",
            languages=("en", language), obtain=CHALLENGE,
        )
        for language in CODESEARCHNET
    ),
    _coir("cosqa", "bc5efb7e9d437246ce393ed19d772e08e4a79535", 20_604, 500, {}),
    _coir(
        "stackoverflow-qa", "db8f169f3894c14a00251061f957b2063eef2bd5", 19_931, 1994, dict(MODERNBERT_STACKOVERFLOW)
    ),
)  # fmt: skip
