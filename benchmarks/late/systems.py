"""The systems that are measured and the settings that they are searched with, as a table."""

from dataclasses import dataclass

from .system import Setting


@dataclass(frozen=True)
class Entry:
    """A system.

    Attributes:
        name: In the tables.
        module, system: Where its class is.
        settings: What to search with.
        sizes: Collections that it is measured on.
        peer: Whether it runs with the peers' interpreter.
        usual: Whether it is measured when `--only` does not name it.
    """

    name: str
    module: str
    system: str
    settings: tuple[Setting, ...]
    sizes: tuple[str, ...] = ("1m",)
    peer: bool = True
    usual: bool = True


def _own(*pairs: tuple[int, int]) -> tuple[Setting, ...]:
    searched = ({"nprobe": nprobe, "candidates": candidates} for nprobe, candidates in pairs)
    return ({}, *searched, {"exact": True})


def _plaid(*pairs: tuple[int, int]) -> tuple[Setting, ...]:
    return tuple({"n_full_scores": full, "n_ivf_probe": probe} for full, probe in pairs)


GRID = ((8, 128), (16, 128), (16, 256), (32, 256), (32, 512), (64, 1024), (128, 2048))
PLAID_GRID = _plaid((4096, 8), (1024, 8), (1024, 2), (512, 4))
SYSTEMS = (
    Entry("modernir 4 bit", "ours", "Modernir", _own(*GRID), ("1m", "4m", "10m"), peer=False),
    Entry("modernir 2 bit", "ours", "Modernir2", _own((16, 256), (32, 512)), peer=False),
    Entry("modernir 8 bit", "ours", "Modernir8", _own((16, 256), (32, 512)), peer=False),
    Entry("modernir 16 bit (all documents)", "ours", "Modernir16", ({},), peer=False),
    Entry("fast-plaid 4 bit", "plaid", "FastPlaid", PLAID_GRID),
    Entry("fast-plaid (own k-means)", "plaid", "FastPlaidOwnKmeans", PLAID_GRID, usual=False),
    Entry("maxsim-cpu (all documents)", "maxsim", "MaxsimCpu", ({},)),
    Entry("lancedb (all documents)", "lance", "LanceFlat", ({},)),
    Entry(
        "lancedb IVF_PQ",
        "lance",
        "LanceIvfPq",
        ({"nprobes": 20}, {"nprobes": 20, "refine_factor": 5}, {"nprobes": 64, "refine_factor": 10}),
    ),
)
