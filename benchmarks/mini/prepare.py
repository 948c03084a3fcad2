"""Makes the folder that recipes/mini-*.toml are run in: pairs, tokenizer, network.

    python benchmarks/mini/prepare.py DATA OUTPUT

DATA has `train/*.jsonl.gz`, pairs, `pretrain/*.txt.zst`, plain text, and the collections `beir/scifact` and
`longdoc/qmsum`, of which the train splits are taken. What is marked non-commercial or for academic use is left out;
docs/models.md lists what is taken, with licences. What is in OUTPUT already is kept.
"""

import argparse
import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from command import exit_code
from judged import Pair, judged, titles, windows, write_pairs

import modernir
from modernir.errors import InputError
from modernir.files import atomic_write
from modernir.retrieval.readers.beir import BeirFolder

WHOLE = (
    "code_docstring",
    "code_docstring_corpus",
    "concode",
    "cpp-docs",
    "tldr_pages",
    "squad_nqg_sentences",
    "peps",
    "powershell-docs",
    "eips",
    "stackexchange_small",
    "rails-guides",
    "scitldr",
    "spring-docs",
    "hugo-docs",
)
"""Files of pairs that are taken as they are."""
ABSTRACTS = "acl_title_abstract"
FROM_2016 = re.compile(rb'"source": "data/xml/[A-Z]1[6-9]\.xml"')
"""Abstracts of the ACL Anthology from 2016 on; what is older is CC BY-NC-SA."""
BOOKS = "openstax_ccby"
PLAIN = ("code", BOOKS, "english_novels_100", "peps")
"""Plain text that the tokenizer learns from beside the pairs."""
NETWORK = Path(modernir.__file__).parent / "recipes" / "mini-network.json"
TOKENIZER = ("--vocabulary", "20480", "--style", "folded", "--words", "all-MiniLM-L6-v2", "--word-count", "110")
JUDGED: dict[str, tuple[str, Callable[[BeirFolder], Iterator[Pair]]]] = {
    "scifact_titles": ("beir/scifact", titles),
    "scifact_claims": ("beir/scifact", judged),
    "qmsum_windows": ("longdoc/qmsum", windows),
}
"""Pairs that are made of collections with judgements, in a folder of their own: the tokenizer and the ablations do
without."""
CLOZE = ("--method", "cloze", "--max-pairs", "9000", "--seed", "12")


def prepare(data: Path, output: Path) -> None:
    """Make what is missing of the folder.

    Args:
        data: Has the folders train, pretrain, beir and longdoc.
        output: Made if it is not there.

    Raises:
        InputError: A file is missing, no abstract is recent enough, or a command of modernir failed.
    """
    pairs = {name: there(data / "train" / f"{name}.jsonl.gz") for name in (*WHOLE, ABSTRACTS)}
    plain = {name: there(data / "pretrain" / f"{name}.txt.zst") for name in PLAIN}
    for collection, _ in JUDGED.values():
        there(data / collection / "qrels" / "train.tsv")
    output.mkdir(parents=True, exist_ok=True)
    for name in WHOLE:
        copied(pairs[name], output / pairs[name].name)
    copied(NETWORK, output / "network.json")
    if not (output / "acl.jsonl.gz").is_file():
        write_recent(pairs[ABSTRACTS], output / "acl.jsonl.gz")
    if not (output / "openstax.jsonl.gz").is_file():
        modernir_command("make-pairs", plain[BOOKS], "--output", output / "openstax.jsonl.gz", *CLOZE)
    if not (output / "tokenizer" / "tokenizer.json").is_file():
        sources = sorted(output.glob("*.jsonl.gz"))
        learnt = (*sources, *plain.values(), "--output", output / "tokenizer", *TOKENIZER, "--sample", "6MB")
        modernir_command("train-tokenizer", *learnt)
    for name, (collection, pairs_of) in JUDGED.items():
        target = output / "judged" / f"{name}.jsonl.gz"
        if not target.is_file():
            target.parent.mkdir(exist_ok=True)
            write_pairs(pairs_of(BeirFolder(data / collection)), target)


def there(path: Path) -> Path:
    """Return a path that is a file.

    Raises:
        InputError: It is none.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; DATA needs the folders train, pretrain, beir and longdoc")
    return path


def copied(source: Path, target: Path) -> None:
    """Copy a file unless it is there."""
    if not target.is_file():
        with source.open("rb") as stream:
            atomic_write(target, lambda out: shutil.copyfileobj(stream, out))


def write_recent(source: Path, target: Path) -> None:
    """Write the abstracts of 2016 and later, gzipped, the same bytes every time.

    Raises:
        InputError: There is none.
    """

    def recent() -> Iterator[bytes]:
        with gzip.open(source, "rb") as lines:
            yield from filter(FROM_2016.search, lines)

    kept = list(recent())
    if not kept:
        raise InputError(f"{source}: no line with a source of 2016 or later, such as data/xml/P17.xml")
    atomic_write(target, lambda out: out.write(gzip.compress(b"".join(kept), mtime=0)))


def modernir_command(*arguments: object) -> None:
    """Run a command of modernir in a process of its own; what it says goes to stderr.

    Raises:
        InputError: It failed.
    """
    command = [sys.executable, "-m", "modernir", *map(str, arguments)]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise InputError(f"modernir {arguments[0]} failed; see above")


def main() -> int:
    """Read the command line and prepare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("output", type=Path, metavar="OUTPUT")
    return exit_code(lambda options: prepare(options.data, options.output), parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
