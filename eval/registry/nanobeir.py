"""NanoBEIR: 50 queries and a few thousand documents of each of 13 sets of BEIR, for quick comparisons.

Sizes and revisions are those of mteb's tasks.
"""

from .entry import Entry, HubFiles
from .layouts import BEIR


def _entry(name: str, revision: str, documents: int, queries: int = 50, identical_ids: bool = False) -> Entry:
    return Entry(
        f"nanobeir/{name}",
        documents,
        queries,
        "CC BY 4.0",
        ("train",),
        "train",
        identical_ids,
        hub=HubFiles(
            f"zeta-alpha-ai/Nano{name}",
            revision,
            BEIR,
            corpus="corpus/train-*.parquet",
            queries=("queries/train-*.parquet",),
            qrels={"train": "qrels/train-*.parquet"},
        ),
    )


ENTRIES = (
    _entry("ArguAna", "8f4a982d470a32c45817738b9d29042ca55d75ad", 3635, identical_ids=True),
    _entry("ClimateFEVER", "96741bfa30b9f56db8c9eb7d08e775ed6474f206", 3408),
    _entry("DBPedia", "438f1c25129f05db6238699b5afdc9c6b58d2096", 6045),
    _entry("FEVER", "a8bfdf1bf15181167a7e22e69cf8754bdea9b4c8", 4996),
    _entry("FiQA2018", "4163ba032953d5044a7a6244261413f609c14342", 4598),
    _entry("HotpotQA", "d79c0cdda980aba54842756770928035e1b61a51", 5090),
    _entry("MSMARCO", "7b8ff22f2771dc65ac5b439f222eb19a1f56abda", 5043),
    _entry("NFCorpus", "dd542a7efb9ad2136b9e00768b60fca9038f8156", 2953),
    _entry("NQ", "77540146379abf95df8326a3c5bb9eb21c7146c3", 5035),
    _entry("QuoraRetrieval", "2ab2d73e6c862026282808b913a34f4136928545", 5046, identical_ids=True),
    _entry("SCIDOCS", "484eb90549fc3f0b9c42b3551e80ceb999515537", 2210),
    _entry("SciFact", "309f1d1ae3ae2e092444a8a0c25bed59b82318bc", 2919),
    _entry("Touche2020", "0d2f26ed8c5ad309f95c7f9499c70a40e140fccd", 5745, 49),
)
