"""LongEmbed: documents of up to hundreds of thousands of characters (Zhu et al. 2024, arXiv 2404.12096).

Four sets of real texts, and two synthetic ones that hide a sentence in texts of eight lengths, each a benchmark of its
own. Sizes are those of mteb's descriptive statistics.
"""

from .entry import Entry, HubFiles
from .layouts import LONGEMBED

LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)


def _entry(name: str, documents: int, queries: int, split: str = "test", length: int | None = None) -> Entry:
    synthetic = length is not None
    return Entry(
        f"longembed/{name}-{length}" if synthetic else f"longembed/{name}",
        documents,
        queries,
        "not stated",
        (split,),
        split,
        measure="nDCG@1" if synthetic else "nDCG@10",
        hub=HubFiles(
            "dwzhu/LongEmbed",
            "6e346642246bfb4928c560ee08640dc84d074e8c",
            LONGEMBED,
            corpus=f"{name}/corpus.jsonl",
            queries=(f"{name}/queries.jsonl",),
            qrels={split: f"{name}/qrels.jsonl"},
            only={"context_length": length} if synthetic else {},
        ),
    )


ENTRIES = (
    _entry("narrativeqa", 355, 10_449),
    _entry("qmsum", 197, 1527),
    _entry("2wikimqa", 300, 300),
    _entry("summ_screen_fd", 336, 336, "validation"),
    *(_entry(name, 100, 50, length=length) for name in ("needle", "passkey") for length in LENGTHS),
)
