"""What the tables of results compare: the systems, the groups of sets, the targets, and what a model was trained on.

A system is the options of `modernir eval local`, so that its figures are those of a command that anyone can type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modernir.errors import InputError
from modernir.retrieval.readers.beir import BeirFolder

GROUPS = ("beir", "code", "longdoc")
"""Folders of the data, each with sets in BEIR's layout."""
LONG = "longdoc"
OVERLAP = "32"
"""Tokens that the windows of a long document share, where a model can read it in windows."""


@dataclass(frozen=True)
class System:
    """A way to search.

    Attributes:
        key: Its folder of results, and its name on the command line.
        title: Head of its column.
        about: What it is, in a few words.
        model: Name of the model, or empty for words alone.
        options: Of `modernir eval local`, beside the model.
        windows: Whether its model can read a long document as windows; a model of one vector a text cuts it.
    """

    key: str
    title: str
    about: str
    model: str = ""
    options: tuple[str, ...] = ()
    windows: bool = False

    def command(self, group: str, folders: Sequence[str], output: str, model: str | None = None) -> list[str]:
        """Return the arguments of `modernir` that evaluate it on sets of one group.

        Args:
            group: One of `GROUPS`.
            folders: The sets.
            output: Folder for results of all systems.
            model: Where the model is, if not where its name says.
        """
        named = ["--model", model or self.model] if self.model else []
        reading = ["--overlap", OVERLAP] if self.windows and group == LONG else []
        return ["eval", "local", *folders, *named, *self.options, *reading, "--output", f"{output}/{self.key}/{group}"]


MINILM, DENSE, COLBERT = "all-MiniLM-L6-v2", "modernir-mini-dense", "modernir-mini-colbert"
LEXICAL, HYBRID = ("--mode", "lexical"), ("--mode", "hybrid")

SYSTEMS = (
    System(
        "bm25-anserini", "BM25, Anserini", "k1 = 0.9, b = 0.4", "", (*LEXICAL, "--bm25", "k1=0.9,b=0.4,identifiers=no")
    ),
    System("bm25", "BM25", "k1 = 1.5, b = 0.75, identifiers also by their words: the default", "", LEXICAL),
    System("minilm", "MiniLM", "all-MiniLM-L6-v2, 384 numbers a text", MINILM),
    System("mini-dense", "mini-dense", "modernir-mini-dense", DENSE),
    System("mini-colbert", "mini-colbert", "modernir-mini-colbert, late interaction", COLBERT, windows=True),
    System("hybrid-mini-dense", "BM25 + mini-dense", "both, their scores on one scale, half and half", DENSE, HYBRID),
    System(
        "hybrid-mini-colbert", "BM25 + mini-colbert", "the same with late interaction", COLBERT, HYBRID, windows=True
    ),
    System(
        "rerank-mini-colbert",
        "BM25 → mini-colbert",
        "the 100 best of the default BM25, ordered by mini-colbert",
        COLBERT,
        (*LEXICAL, "--rerank", "100"),
        windows=True,
    ),
)
"""The first is what the others are tested against."""

TARGETS = (
    *(f"beir/{name}" for name in ("scifact", "nfcorpus", "cranfield")),
    *(f"code/docstring_{language}" for language in ("python", "go", "ruby", "php")),
    *(f"code/csn_challenge_{language}" for language in ("python", "go", "ruby")),
    "code/cosqa",
    *(f"longdoc/{name}" for name in ("openstax", "qmsum")),
)
"""Sets whose mean is taken and whose wins over BM25 are counted."""

_DOMAINS = {
    "beir/scifact": "trained on the train split's claims and the titles of all abstracts",
    "longdoc/qmsum": "trained on the train split's queries",
}
IN_DOMAIN: Mapping[str, Mapping[str, str]] = {
    MINILM: {
        **dict.fromkeys(
            (f"code/docstring_{language}" for language in ("python", "go", "ruby", "php")),
            "its training data have CodeSearchNet's pairs of documentation and function",
        ),
        "beir/nq_utd": "its training data have Natural Questions",
    },
    DENSE: _DOMAINS,
    COLBERT: _DOMAINS,
}
"""Model to the sets whose training part it was trained on, and how that is known."""

_NEAR = (
    "learnt from comments and functions of other repositories, which is the task of code/docstring, and from two books "
    "whose sections are also documents of longdoc/openstax, but from no query or judgement of either"
)
NEAR: Mapping[str, str] = {DENSE: _NEAR, COLBERT: _NEAR}
"""Model to what in its training is near a set without being of its training part."""


def find_sets(data: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the sets below a folder as `beir/scifact`, in the order of their groups, small ones first.

    Args:
        data: Holds folders of the names in `GROUPS`.
        wanted: Sets by their names, with or without the group, or groups; all if none.

    Raises:
        InputError: There is none, or none of a wanted name.
    """
    folders = [
        folder
        for group in GROUPS
        for folder in sorted((data / group).glob("*"), key=_size)
        if BeirFolder.is_one(folder)
    ]
    found = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if not found:
        raise InputError(f"{data}: no sets; expected folders in BEIR's layout in {', '.join(GROUPS)}, as beir/scifact")
    for name in wanted:
        if not any(name in _names(one) for one in found):
            raise InputError(f"--sets {name}: neither a group nor a set; in {data} are: {', '.join(found)}")
    return [one for one in found if not wanted or any(name in _names(one) for name in wanted)]


def choose_systems(keys: Sequence[str]) -> list[System]:
    """Return the systems of some keys, in the order of `SYSTEMS`; all if there are none.

    Raises:
        InputError: There is none of that key.
    """
    known = [system.key for system in SYSTEMS]
    for key in keys:
        if key not in known:
            raise InputError(f"--systems {key}: no system is called so; there are: {', '.join(known)}")
    return [system for system in SYSTEMS if not keys or system.key in keys]


def _names(one: str) -> tuple[str, ...]:
    return (one, *one.split("/"))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("corpus.jsonl*"))
