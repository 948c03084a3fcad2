"""A data set's hub name is streamed by the real code of `datasets`, here from a stand-in hub on 127.0.0.1."""

import io
from collections.abc import Callable

import pyarrow
import pyarrow.parquet

PROGRAM = """
import sys
from modernir.errors import InputError
from modernir.retrieval.readers.documents import read_documents
from modernir.retrieval.readers.rows import RowOptions
try:
    for document, where in read_documents(sys.argv[1], RowOptions(split=sys.argv[2] or None)):
        print(document.id, document.text, where, sep="|")
except InputError as error:
    print("refused:", error)
"""


def parquet(ids: list[str]) -> bytes:
    table = pyarrow.table({"_id": ids, "text": [f"text of {identifier}" for identifier in ids]})
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


def test_a_corpus_on_the_hub_is_read_by_its_name_and_split(
    serve_hub: Callable[[str, dict[str, bytes]], str], run_with_hub: Callable[..., str]
) -> None:
    files = {"train.parquet": parquet(["a", "b"]), "test.parquet": parquet(["c"])}
    address = serve_hub("owner/corpus", files)
    assert run_with_hub(address, PROGRAM, "owner/corpus", "train").splitlines() == [
        "a|text of a|owner/corpus: row 1",
        "b|text of b|owner/corpus: row 2",
    ]
    several = run_with_hub(address, PROGRAM, "owner/corpus", "")
    assert several.startswith("refused: owner/corpus: several splits; name one of train, test with --split")
    missing = run_with_hub(address, PROGRAM, "owner/nothing", "")
    assert missing.startswith("refused: owner/nothing: not a file or folder here, and not loadable as a data set")
