"""Documents, queries, judgements and training examples: what their fields may be called and what is refused."""

import gzip
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from modernir.errors import InputError
from modernir.index.documents import Document
from modernir.retrieval.readers.beir import BeirFolder, read_qrels
from modernir.retrieval.readers.documents import read_documents
from modernir.retrieval.readers.examples import TrainingExample, read_examples
from modernir.retrieval.readers.queries import gather_queries, read_queries
from modernir.retrieval.readers.rows import RowOptions

Jsonl = Callable[[Path, list[dict]], Path]


# Documents


@pytest.mark.parametrize("identifier", ["_id", "id", "doc_id", "docid", "pid", "corpus-id", "corpus_id"])
@pytest.mark.parametrize("text", ["text", "contents", "content", "body", "passage", "document"])
def test_documents_are_known_by_the_usual_names(tmp_path: Path, jsonl: Jsonl, identifier: str, text: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{identifier: "x", text: "words", "title": "T", "year": 7}])
    assert [document for document, _ in read_documents(path)] == [Document("x", "words", "T", {"year": 7})]


def test_metadata_is_kept_and_numbers_serve_as_ids(tmp_path: Path, jsonl: Jsonl) -> None:
    rows = [
        {"id": 12, "text": "a", "title": None, "metadata": {"url": "u", "tags": ["x"]}, "lang": "de"},
        {"id": 0, "text": "b", "metadata": "a word"},
    ]
    documents = [document for document, _ in read_documents(jsonl(tmp_path / "a.jsonl", rows))]
    assert documents[0] == Document("12", "a", "", {"lang": "de", "url": "u", "tags": ["x"]})
    assert documents[1].id == "0"


def test_a_corpus_in_columns_without_a_header_is_read(tmp_path: Path) -> None:
    (tmp_path / "collection.tsv").write_text("0\tthe first\n1\tthe second\n")
    options = RowOptions(columns=("pid", "passage"))
    found = list(read_documents(tmp_path / "collection.tsv", options))
    assert [(document.id, document.text) for document, _ in found] == [("0", "the first"), ("1", "the second")]


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.zst"])
def test_a_beir_folder_is_its_corpus(tmp_path: Path, name: str) -> None:
    content = b'{"_id": "1", "title": "", "text": "a"}\n'
    packed = {"jsonl": content, "gz": gzip.compress(content), "zst": zstandard.compress(content)}[name.split(".")[-1]]
    (tmp_path / name).write_bytes(packed)
    assert [where for _, where in read_documents(tmp_path)] == [f"{tmp_path / name}:1"]


BROKEN_DOCUMENTS = {
    "no id": ({"text": "a"}, r"a\.jsonl:2: expected an id under _id or id; found the fields 'text'"),
    "empty id": ({"id": "", "text": "a"}, r"a\.jsonl:2: expected an id under _id or id"),
    "null id": ({"id": None, "text": "a"}, r"a\.jsonl:2: expected an id"),
    "fraction as id": ({"id": 1.5, "text": "a"}, r"a\.jsonl:2: expected an id"),
    "truth as id": ({"id": True, "text": "a"}, r"a\.jsonl:2: expected an id"),
    "no field": ({}, r"a\.jsonl:2: expected an id under _id or id; found no fields"),
    "no text": ({"id": "x", "body_": "a"}, r"a\.jsonl:2: document 'x' has no text; expected one under text; .*'body_'"),
    "null text": ({"id": "x", "text": None}, r"a\.jsonl:2: document 'x' has no text"),
    "number as text": ({"id": "x", "text": 7}, r"a\.jsonl:2: document 'x' has no text"),
    "empty": ({"id": "x", "title": "", "text": ""}, r"a\.jsonl:2: document 'x' has no text; .* --empty skip"),
    "blank": ({"id": "x", "title": " ", "text": "\n\t"}, r"a\.jsonl:2: document 'x' has no text; .* --empty skip"),
}


@pytest.mark.parametrize("case", BROKEN_DOCUMENTS)
def test_a_broken_document_is_named(tmp_path: Path, jsonl: Jsonl, case: str) -> None:
    row, message = BROKEN_DOCUMENTS[case]
    path = jsonl(tmp_path / "a.jsonl", [{"id": "first", "text": "a"}, row])
    documents = read_documents(path)
    assert next(documents)[0].id == "first"
    with pytest.raises(InputError, match=message):
        next(documents)


def test_empty_documents_are_skipped_or_kept_on_demand(tmp_path: Path, jsonl: Jsonl) -> None:
    rows = [{"id": "a", "text": ""}, {"id": "b", "text": "", "title": "only"}, {"id": "c", "text": "x"}]
    path = jsonl(tmp_path / "a.jsonl", rows)
    assert [document.id for document, _ in read_documents(path, empty="skip")] == ["b", "c"]
    assert [document.id for document, _ in read_documents(path, empty="keep")] == ["a", "b", "c"]


# Queries


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("q.jsonl", b'{"_id": "x", "text": "a b"}\n{"qid": 7, "query": "c"}\n', [("x", "a b"), ("7", "c")]),
        ("q.jsonl", b'{"text": "a"}\n{"question": "b"}\n', [("1", "a"), ("2", "b")]),
        ("q.tsv", b"id\ttext\n5\twho\n", [("5", "who")]),
        ("q.csv", b'query_id,query\n5,"who, me"\n', [("5", "who, me")]),
        ("q.txt", "first\n\n  ü second \n".encode(), [("1", "first"), ("2", "ü second")]),
        ("queries", b"first\r\nsecond", [("1", "first"), ("2", "second")]),
        ("q.txt.gz", gzip.compress(b"first\n"), [("1", "first")]),
    ],
)
def test_queries_come_from_many_kinds_of_file(
    tmp_path: Path, name: str, content: bytes, expected: list[tuple[str, str]]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(read_queries(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.jsonl", b'{"text": "a"}\nno json\n', r"q\.jsonl:2: not a line of JSON"),
        ("q.jsonl", b'{"id": "1"}\n', r"q\.jsonl:1: expected a query under text; found the fields 'id'"),
        ("q.jsonl", b'{"id": "1", "text": "  "}\n', r"q\.jsonl:1: expected a query under text"),
        ("q.jsonl", b'{"id": "1", "text": 5}\n', r"q\.jsonl:1: expected a query under text"),
        ("q.jsonl", b'{"id": 1, "text": "a"}\n{"id": "1", "text": "b"}\n', r"q\.jsonl:2: query id '1' comes twice"),
        ("q.tsv", b"id\ttext\n5\n", r"q\.tsv:2: expected 2 columns"),
        ("q.txt", b"fine\nnot \xff fine\n", r"q\.txt:2: not UTF-8"),
        ("q.txt.zst", b"no archive", r"q\.txt\.zst:1: damaged or cut compressed file"),
    ],
)
def test_a_broken_query_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_queries(tmp_path / name))


def test_a_missing_query_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        list(read_queries(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="a folder, where a file was expected"):
        list(read_queries(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_queries_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As in `modernir search --queries <(…)`."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("a\nb\n",))
    writer.start()
    assert list(read_queries(tmp_path / "pipe")) == [("1", "a"), ("2", "b")]
    writer.join()


def test_queries_are_gathered_from_the_argument_a_file_or_stdin(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("from file\n")
    stdin = io.StringIO("from stdin\n\nsecond\n")
    assert gather_queries("argument", None, stdin) == [("1", "argument")]
    assert gather_queries(None, tmp_path / "q.txt", stdin) == [("1", "from file")]
    assert gather_queries(None, None, stdin) == [("1", "from stdin"), ("2", "second")]
    assert gather_queries(None, Path("-"), io.StringIO("again")) == [("1", "again")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_query_or_two_sources_are_refused(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n  \n")
    for query, file, stdin, message in (
        ("a", tmp_path / "blank.txt", io.StringIO(), "give a query or --queries FILE, not both"),
        (None, None, Terminal(), "no query; give one"),
        (None, None, None, "no query; give one"),
        (None, Path("-"), None, "every line is blank"),
        (None, None, io.StringIO("\n"), "no query in the input; every line is blank"),
        (" ", None, io.StringIO("x"), "no query in the input; every line is blank"),
        (None, tmp_path / "blank.txt", io.StringIO(), r"no query in .*blank\.txt"),
        (None, None, io.TextIOWrapper(io.BytesIO(b"a \xff b"), "utf-8"), "not UTF-8"),
        ("a \udcff b", None, io.StringIO(), "not UTF-8"),
    ):
        with pytest.raises(InputError, match=message):
            gather_queries(query, file, stdin)


# Judgements and BEIR folders


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
        "q1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
        "q1 0 d1 2\nq1 0 d2 0\n\nq2 Q0 d1 1\n",
        "query-id\tcorpus-id\tscore\r\nq1\td1\t2\r\nq1\td2\t0\r\nq2\td1\t1",
    ],
)
def test_judgements_are_read_with_and_without_a_header(tmp_path: Path, content: str) -> None:
    (tmp_path / "test.tsv").write_bytes(content.encode())
    assert read_qrels(tmp_path / "test.tsv") == {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("query-id\tcorpus-id\tscore\nq1\td1\tgood\n", r"test\.tsv:2: expected a whole number as grade, found 'good'"),
        ("q1\td1\t1.5\n", r"test\.tsv:1: expected a whole number as grade, found '1.5'"),
        ("q1\td1\t1\nq1\td1\n", r"test\.tsv:2: expected query-id, corpus-id and score, found 2 columns"),
        ("q1 0 d1 1 extra\n", r"test\.tsv:1: expected query-id, corpus-id and score, found 5 columns"),
        ("", r"test\.tsv: no judgements in this file"),
        ("query-id\tcorpus-id\tscore\n", r"test\.tsv: no judgements in this file"),
        ("q1\t\t1\n", r"test\.tsv:1: expected query-id, corpus-id and score"),
    ],
)
def test_broken_judgements_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "test.tsv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_qrels(tmp_path / "test.tsv")


def test_a_beir_folder_gives_its_parts(tiny_beir: Path) -> None:
    folder = BeirFolder(tiny_beir)
    assert BeirFolder.is_one(tiny_beir)
    assert not BeirFolder.is_one(tiny_beir / "qrels")
    assert folder.splits == ["test"]
    assert len(list(folder.documents())) == 6
    assert list(folder.queries()) == ["q1", "q2", "q3"]
    assert folder.qrels("test")["q2"] == {"d4": 2, "d2": 0}
    with pytest.raises(InputError, match=r"no split 'dev' \(no qrels/dev\.tsv\); there: test"):
        folder.qrels("dev")


def test_a_real_collection_is_read_whole(shared_data: Path) -> None:
    folder = BeirFolder(shared_data / "beir/scifact")
    documents = [document for document, _ in folder.documents()]
    assert len({document.id for document in documents}) == 5183
    assert sum(map(len, folder.qrels("test").values())) == 339


# Training examples


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"query": "q", "positive": "p"}, [TrainingExample("q", "p")]),
        ({"anchor": "q", "positive": "p", "negative": "n"}, [TrainingExample("q", "p", ("n",))]),
        ({"question": "q", "answer": "p"}, [TrainingExample("q", "p")]),
        ({"query": "q", "pos": ["p"], "neg": ["n", "m"]}, [TrainingExample("q", "p", ("n", "m"))]),
        ({"query": "q", "positive": "p", "negatives": []}, [TrainingExample("q", "p")]),
        ({"query": "q", "positive": "p", "negatives": None}, [TrainingExample("q", "p")]),
        (
            {"query": "q", "positive": "p", "negative_10": "c", "negative_2": "b", "negative_1": "a", "negative_3": ""},
            [TrainingExample("q", "p", ("a", "b", "c"))],
        ),
        (
            {"query": "q", "positives": ["p", "r"], "negatives": ["n"]},
            [TrainingExample("q", "p", ("n",)), TrainingExample("q", "r", ("n",))],
        ),
        (
            {"query": "q", "positive": "p", "negatives": ["n"], "scores": [0.9, 1]},
            [TrainingExample("q", "p", ("n",), (0.9, 1.0))],
        ),
        (
            {"query": "q", "positives": ["p", "r"], "negatives": ["n", "m"], "scores": [9, 8, 2, 1]},
            [
                TrainingExample("q", "p", ("n", "m"), (9.0, 2.0, 1.0)),
                TrainingExample("q", "r", ("n", "m"), (8.0, 2.0, 1.0)),
            ],
        ),
        ({"sentence1": "q", "sentence2": "p", "score": 0.5}, [TrainingExample("q", "p")]),
        (
            {"query": "q", "documents": ["a", "b", "c"], "scores": [1, 5, 2.5]},
            [TrainingExample("q", "b", ("c", "a"), (5.0, 2.5, 1.0))],
        ),
    ],
)
def test_training_examples_come_in_many_shapes(
    tmp_path: Path, jsonl: Jsonl, row: dict, expected: list[TrainingExample]
) -> None:
    assert list(read_examples(jsonl(tmp_path / "a.jsonl", [row]))) == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"positive": "p"}, r"a\.jsonl:2: expected a text under query \(or anchor\); found the fields 'positive'"),
        ({"query": " ", "positive": "p"}, r"a\.jsonl:2: expected a text under query"),
        ({"query": "q"}, r"a\.jsonl:2: expected a text or a list of texts under positive"),
        ({"query": "q", "positive": ""}, r"a\.jsonl:2: expected a text or a list of texts under positive"),
        ({"query": "q", "positives": []}, r"a\.jsonl:2: expected a text or a list of texts under positive"),
        ({"query": "q", "positives": ["p", 3]}, r"a\.jsonl:2: expected a text or a list of texts under positive"),
        ({"query": "q", "positive": "p", "negatives": [1]}, r"a\.jsonl:2: expected a text .* under negatives"),
        ({"query": "q", "positive": "p", "negatives": {"a": 1}}, r"a\.jsonl:2: expected a text .* under negatives"),
        ({"query": "q", "positive": "p", "negative": "n", "scores": [1]}, r"a\.jsonl:2: expected 2 scores .*found 1"),
        ({"query": "q", "positive": "p", "negative": "n", "scores": "hi"}, r"a\.jsonl:2: expected a list of numbers"),
        ({"query": "q", "positive": "p", "negative": "n", "scores": [1, "x"]}, r"a\.jsonl:2: expected a list of num"),
        (
            {"query": "q", "positive": "p", "negative": "n", "scores": [1, float("nan")]},
            r"2: a score is nan, which is not",
        ),
        (
            {"query": "q", "positive": "p", "negative": "n", "scores": [1, 1e300]},
            r"1e\+300, .* too large for a float32",
        ),
        ({"query": "q", "positive": "p", "negative": "n", "scores": [1, -(10**400)]}, r"too large for a float32"),
        ({"query": "q", "positives": ["p", "r"], "negative": "n", "scores": [2, 1]}, r"2: expected 3 scores .*found 2"),
        (
            {"query": "q", "positive": "p", "negatives": ["n", " "]},
            r"2: expected a text .*none of them empty, under neg",
        ),
        ({"query": "q", "documents": ["a", 3], "scores": [1, 2]}, r"2: candidate 2 is 3, where a text was expected"),
        ({"query": "q", "documents": ["", "b"], "scores": [1, 2]}, r"2: candidate 1 is '', where a text was expected"),
        ({"query": "q", "documents": ["a", "b"], "scores": [1]}, r"2: expected a score for each of 2 candidates"),
        ({"query": "q", "documents": ["a", "b"]}, r"a\.jsonl:2: expected a list of numbers under scores, found None"),
    ],
)
def test_a_broken_example_is_named(tmp_path: Path, jsonl: Jsonl, row: dict, message: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"query": "q", "positive": "p"}, row])
    with pytest.raises(InputError, match=message):
        list(read_examples(path))


def test_the_judgements_of_a_beir_folder_are_examples(tiny_beir: Path) -> None:
    examples = list(read_examples(tiny_beir, RowOptions(split="test")))
    assert [example.query for example in examples] == [
        "red apples in the garden",
        "sour lemons against scurvy",
        "a ship crosses the sea",
    ]
    assert examples[1].positive == "Lemons Yellow lemons are sour; sailors ate them against scurvy."
    with pytest.raises(InputError, match="no split 'train'"):
        list(read_examples(tiny_beir))


def test_examples_from_tsv_and_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "a.tsv").write_text("query\tpositive\tnegative\nq\tp\tn\n")
    rows = [{"query": "q", "positive": "p", "negative": ["n", "m"]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert list(read_examples(tmp_path / "a.tsv")) == [TrainingExample("q", "p", ("n",))]
    assert list(read_examples(tmp_path / "a.parquet")) == [TrainingExample("q", "p", ("n", "m"))]


def test_the_real_pairs_are_streamed(shared_data: Path) -> None:
    examples = read_examples(shared_data / "train/code_docstring.jsonl.gz")
    first = next(examples)
    assert first.query
    assert first.positive


def test_a_file_without_a_header_is_told_of_columns(tmp_path: Path) -> None:
    (tmp_path / "collection.tsv").write_text("0\tfirst passage\n1\tsecond passage\n")
    with pytest.raises(InputError, match=r"collection.tsv:2: expected an id .*without a header line wants --columns"):
        list(read_documents(tmp_path / "collection.tsv"))
    options = RowOptions(columns=("id", "text"))
    assert [document.id for document, _ in read_documents(tmp_path / "collection.tsv", options)] == ["0", "1"]
