"""The public sets of BEIR (Thakur et al. 2021, arXiv 2104.08663) and the subsets of CQADupStack.

Licences are those of BEIR's paper (appendix E), where the data set's own page does not say otherwise. Figures are left
out where no source is known.
"""

from .entry import Entry
from .published import FLAT, MINILM, MULTIFIELD


def _cqadupstack(subset: str, documents: int, queries: int, flat: float, multifield: float) -> Entry:
    published = {FLAT: flat, MULTIFIELD: multifield}
    return Entry(f"cqadupstack/{subset}", documents, queries, "Apache 2.0", published=published)


ENTRIES = (
    Entry(
        "msmarco", 8_841_823, 6980, "MIT, non-commercial research", ("train", "dev", "test"), "dev",
    ),
    Entry(
        "trec-covid", 171_332, 50, "CORD-19 dataset license agreement",
        published={FLAT: 0.5947, MULTIFIELD: 0.6559},
    ),
    Entry(
        "nfcorpus", 3633, 323, "academic use only", ("train", "dev", "test"),
        published={FLAT: 0.3218, MULTIFIELD: 0.3254, MINILM: 0.316},
    ),
    Entry(
        "nq", 2_681_468, 3452, "CC BY-SA 3.0",
        published={FLAT: 0.3055, MULTIFIELD: 0.3285},
    ),
    Entry(
        "hotpotqa", 5_233_329, 7405, "CC BY-SA 4.0", ("train", "dev", "test"),
        published={FLAT: 0.6330, MULTIFIELD: 0.6027},
    ),
    Entry(
        "fiqa", 57_638, 648, "not stated", ("train", "dev", "test"),
        published={FLAT: 0.2361, MULTIFIELD: 0.2361},
    ),
    Entry(
        "arguana", 8674, 1406, "CC BY 4.0", identical_ids=True,
        published={FLAT: 0.3970, MULTIFIELD: 0.4142, MINILM: 0.5017},
    ),
    Entry(
        "webis-touche2020", 382_545, 49, "CC BY 4.0",
        published={FLAT: 0.4422, MULTIFIELD: 0.3673},
    ),
    _cqadupstack("android", 22_998, 699, 0.3801, 0.3709),
    _cqadupstack("english", 40_221, 1570, 0.3453, 0.3321),
    _cqadupstack("gaming", 45_301, 1595, 0.4822, 0.4418),
    _cqadupstack("gis", 37_637, 885, 0.2901, 0.2904),
    _cqadupstack("mathematica", 16_705, 804, 0.2015, 0.2046),
    _cqadupstack("physics", 38_316, 1039, 0.3214, 0.3248),
    _cqadupstack("programmers", 32_176, 876, 0.2802, 0.2963),
    _cqadupstack("stats", 42_269, 652, 0.2711, 0.2790),
    _cqadupstack("tex", 68_184, 2906, 0.2244, 0.2086),
    _cqadupstack("unix", 47_382, 1072, 0.2749, 0.2788),
    _cqadupstack("webmasters", 17_405, 506, 0.3059, 0.3008),
    _cqadupstack("wordpress", 48_605, 541, 0.2483, 0.2562),
    Entry(
        "quora", 522_931, 10_000, "not stated", ("dev", "test"), identical_ids=True,
        published={FLAT: 0.7886, MULTIFIELD: 0.7886},
    ),
    Entry(
        "dbpedia-entity", 4_635_922, 400, "CC BY-SA 3.0", ("dev", "test"),
        published={FLAT: 0.3180, MULTIFIELD: 0.3128},
    ),
    Entry(
        "scidocs", 25_657, 1000, "GPL 3.0",
        published={FLAT: 0.1490, MULTIFIELD: 0.1581},
    ),
    Entry(
        "fever", 5_416_568, 6666, "CC BY-SA 3.0", ("train", "dev", "test"),
        published={FLAT: 0.6513, MULTIFIELD: 0.7530},
    ),
    Entry(
        "climate-fever", 5_416_593, 1535, "not stated",
        published={FLAT: 0.1651, MULTIFIELD: 0.2129},
    ),
    Entry(
        "scifact", 5183, 300, "claims CC BY 4.0, abstracts ODC-By 1.0", ("train", "test"),
        published={FLAT: 0.6789, MULTIFIELD: 0.6647, MINILM: 0.645},
    ),
)  # fmt: skip
