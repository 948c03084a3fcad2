"""Every vector of a ColBERT is told which piece of its text it stands for, whatever puts other tokens around it."""

import json
import shutil
import string
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoTokenizer,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
)

from modernir import InputError, load_encoder
from modernir.encoders.colbert import ColbertEncoder
from modernir.encoders.colbert.packed import PackedColbert
from modernir.encoders.colbert.sentence_transformer import MultiVectorModelEncoder
from modernir.encoders.colbert.spans import Piece

Make = Callable[..., Path]
ON_TOKENS = {"module_input_name": "token_embeddings"}
WORDS = "retrieval of documents: naïve, exact or neural search, with indexes and queries"
UNICODE = [
    "Café naïve  résumé",
    "emoji 🙂🙂 and 👩‍🔬 too",
    "dense 検索 index 日本",
    "ﬁne ﬂoor oﬃce",
    "e\u0301 combined, İstanbul ǅ",
    " \t blanks\n\nand lines \u00a0",
    "[MASK] in the text, [CLS] too [Q] ",
    "\u200bzero\u200b width \x00 nul",
]
EXPANSIONS = {
    "none": None,
    "fixed": {"strategy": "fixed", "length": 14},
    "fixed, attended": {"strategy": "fixed", "attend": True, "length": 14},
    "with a word": {"strategy": "fixed", "length": 14, "token": "query"},
    "minimum": {"strategy": "min", "length": 8},
}


@pytest.fixture(scope="module")
def mixed(texts: list[str]) -> list[str]:
    return [*texts, *UNICODE, "token, query. what is it?!", "... , ! ?", "!", "the [MASK] of query index " * 30]


@pytest.fixture(scope="module")
def networks(bare_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Networks by name: word pieces on a BERT, bytes on a ModernBERT, and one that sentence-transformers runs."""
    pieces = AutoTokenizer.from_pretrained(bare_bert)
    pieces.add_tokens([*".,!?", "[Q] ", "[D] "])
    small = Tokenizer(models.BPE())
    small.pre_tokenizer = ByteLevel(add_prefix_space=False)
    small.decoder = decoders.ByteLevel()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[Q] ", "[D] "]
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    small.train_from_iterator([WORDS] * 4, trainer)
    small.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    bytewise = PreTrainedTokenizerFast(tokenizer_object=small, model_max_length=64, **roles)
    torch.manual_seed(4)
    bert = BertModel.from_pretrained(bare_bert)
    bert.resize_token_embeddings(len(pieces))
    modern = ModernBertConfig(
        **{"num_attention_heads": 2, "vocab_size": len(bytewise), "hidden_size": 64, "intermediate_size": 96}
        | {"num_hidden_layers": 2, "local_attention": 16, "max_position_embeddings": 96, "initializer_range": 0.2}
        | {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    )
    distil = DistilBertConfig(vocab_size=len(pieces), dim=32, n_layers=1, n_heads=4, hidden_dim=64)
    made = {
        "bert": (bert, pieces),
        "bytes": (ModernBertModel(modern), bytewise),
        "foreign": (DistilBertModel(distil), pieces),
    }
    folders = {}
    for name, (model, tokenizer) in made.items():
        folders[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def make(networks: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that saves a ColBERT in sentence-transformers' format on one of the networks."""

    def saved(
        network: str,
        expansion: dict | None = None,
        skiplist: tuple[str, ...] = (),
        prompts: dict[str, str] | None = None,
        **mask: object,
    ) -> Path:
        torch.manual_seed(5)
        lengths = {"max_seq_length": 40, "document_length": 36}
        transformer = Transformer(str(networks[network]), query_expansion=expansion, **lengths)
        projection = Dense(
            transformer.get_embedding_dimension(), 8, bias=False, activation_function=torch.nn.Identity(), **ON_TOKENS
        )
        modules = [transformer, projection, MultiVectorMask(list(skiplist), **mask), Normalize(**ON_TOKENS)]
        folder = tmp_path_factory.mktemp("colbert")
        MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu").save_pretrained(str(folder))
        return folder

    return saved


def load(folder: Path, **settings: object) -> ColbertEncoder:
    return load_encoder(folder, device="cpu", precision="fp32", kind="late", **settings)


def ids_of_rows(model: MultiVectorEncoder, text: str, task: str) -> list[int]:
    """Return the ids of the tokens that sentence-transformers keeps vectors of."""
    encode = model.encode_query if task == "query" else model.encode_document
    kept = encode([text], output_value=None)[0]
    return kept["input_ids"][kept["attention_mask"].bool()].tolist()


def plain(text: str) -> str:
    """Return what the tokenizer of BERT makes of a piece of a word."""
    return "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")


def assert_tells_of_all(encoder: ColbertEncoder, texts: list[str]) -> None:
    for task, encode in (("query", encoder.encode_queries), ("document", encoder.encode_documents)):
        matrix, spans = encoder.encode_with_spans(texts, task)
        expected = encode(texts)
        np.testing.assert_array_equal(matrix.offsets, expected.offsets)
        np.testing.assert_allclose(matrix.values, expected.values, atol=1e-5)
        np.testing.assert_array_equal(spans.offsets, expected.offsets)
        assert len(spans) == len(texts)
        assert len(spans.rows) == len(expected.values)
        for text, rows in zip(texts, spans, strict=True):
            for piece in (piece for row in rows for piece in row):
                assert_is_a_piece(piece, text)


def assert_is_a_piece(piece: Piece, text: str) -> None:
    if piece.is_text:
        assert 0 <= piece.start < piece.end <= len(text)
        part = text[piece.start : piece.end]
        assert part == part.strip() or not part.strip()
    else:
        assert (piece.start, piece.end, piece.word) == (-1, -1, -1)
        assert piece.kind in ("prompt", "marker", "special", "expansion")


@pytest.mark.parametrize("expansion", list(EXPANSIONS))
@pytest.mark.parametrize("network", ["bert", "bytes", "foreign"])
def test_every_row_has_its_pieces(network: str, expansion: str, make: Make, mixed: list[str]) -> None:
    chosen = EXPANSIONS[expansion]
    if network == "bytes" and chosen and chosen.get("token"):
        chosen = chosen | {"token": "!"}
    prompts = {"query": "[Q] ", "document": "[D] "} if expansion == "minimum" else None
    encoder = load(make(network, chosen, tuple(string.punctuation), prompts))
    assert isinstance(encoder, MultiVectorModelEncoder if network == "foreign" else PackedColbert)
    assert_tells_of_all(encoder, mixed)


@pytest.mark.parametrize("network", ["bert", "bytes", "foreign"])
def test_the_pieces_are_the_tokens_that_sentence_transformers_keeps(network: str, make: Make) -> None:
    folder = make(network, EXPANSIONS["minimum"], (",", ".", "!"), {"query": "[Q] find: ", "document": "a "})
    encoder, model = load(folder), MultiVectorEncoder(str(folder), device="cpu")
    for task in ("query", "document"):
        for text in [*UNICODE, "token, query. what!", "", "a"]:
            tokens = [row[0].token for row in encoder.spans([text], task)[0]]
            assert [model.tokenizer.convert_tokens_to_ids(token) for token in tokens] == ids_of_rows(model, text, task)


def test_word_pieces_are_found_where_they_stand(make: Make, mixed: list[str]) -> None:
    encoder = load(make("bert"), document_length=60)
    found = [
        (piece, text) for text, rows in zip(mixed, encoder.spans(mixed, "document"), strict=True) for (piece,) in rows
    ]
    known = [(piece, text) for piece, text in found if piece.is_text and piece.token != "[UNK]"]
    assert len(known) > 200
    for piece, text in known:
        assert plain(text[piece.start : piece.end]) == piece.token.removeprefix("##").strip().lower()


def test_pieces_that_are_a_part_of_a_character_have_all_of_it(make: Make) -> None:
    encoder, alphabet = load(make("bytes")), bytes_to_text()
    seen = 0
    for text, rows in zip(UNICODE, encoder.spans(UNICODE, "document"), strict=True):
        for (piece,) in rows:
            if piece.is_text and piece.token not in ("[MASK]", "[CLS]", "[Q] "):
                raw = bytes(alphabet[letter] for letter in piece.token)
                assert raw.strip() in text[piece.start : piece.end].encode() or not raw.strip()
                seen += raw != text[piece.start : piece.end].encode()
    assert seen > 20


def bytes_to_text() -> dict[str, int]:
    """Return the byte that each letter of a byte-level vocabulary stands for."""
    tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    shown = {"".join(part for part, _ in tokenizer.pre_tokenize_str(chr(number))): number for number in range(128)}
    rest = sorted(set(ByteLevel.alphabet()) - set(shown))
    printable = {letter: ord(letter) for letter in rest if ord(letter) < 256}
    hidden = [number for number in range(128, 256) if number not in printable.values()]
    return shown | printable | dict(zip([letter for letter in rest if ord(letter) >= 256], hidden, strict=True))


def test_all_words_of_a_text_are_pieces_of_it(make: Make) -> None:
    for network in ("bert", "bytes", "foreign"):
        encoder = load(make(network), document_length=60)
        for text in UNICODE[:4]:
            covered = {
                place for (piece,) in encoder.spans([text], "document")[0] for place in range(piece.start, piece.end)
            }
            assert {place for place, letter in enumerate(text) if letter.isalnum()} <= covered


def test_kinds_of_what_is_no_text(make: Make) -> None:
    encoder = load(make("bert", EXPANSIONS["fixed"], prompts={"query": "[Q] what "}))
    rows = encoder.spans(["index token"], "query")[0]
    assert [(row[0].token, row[0].kind, row[0].start, row[0].end) for row in rows] == [
        ("[CLS]", "special", -1, -1),
        ("[Q] ", "prompt", -1, -1),
        ("what", "prompt", -1, -1),
        ("index", "text", 0, 5),
        ("token", "text", 6, 11),
        ("[SEP]", "special", -1, -1),
        *[("[MASK]", "expansion", -1, -1)] * 8,
    ]


def test_markers_of_pylate_are_told_apart(
    networks: dict[str, Path], make: Make, tmp_path: Path, mixed: list[str]
) -> None:
    folder = shutil.copytree(networks["bert"], tmp_path / "pylate")
    source = make("bert")
    shutil.copytree(next(source.glob("1_*")), folder / "1_Dense")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ]
    own = {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 14, "document_length": 30}
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(own | {"prompts": {"query": "the "}}))
    encoder = load(folder)
    assert_tells_of_all(encoder, mixed)
    kinds = [(row[0].token, row[0].kind) for row in encoder.spans(["index of"], "query")[0]]
    assert kinds[:5] == [("[CLS]", "special"), ("[Q] ", "marker"), ("the", "prompt"), ("index", "text"), ("of", "text")]
    assert [kind for _, kind in kinds[6:]] == ["expansion"] * 8
    assert encoder.spans(["token."], "document")[0][1][0] == Piece("[D] ", "marker")


@pytest.mark.parametrize("network", ["bert", "foreign"])
@pytest.mark.parametrize("factor", [1, 2.5, 1000])
def test_merged_rows_stand_for_all_their_pieces(network: str, factor: float, make: Make, mixed: list[str]) -> None:
    folder = make(network)
    whole, merging = load(folder), load(folder, pool_factor=factor)
    assert_tells_of_all(merging, mixed)
    for one, other in zip(whole.spans(mixed, "document"), merging.spans(mixed, "document"), strict=True):
        assert sorted(map(str, (piece for row in one for piece in row))) == sorted(
            map(str, (piece for row in other for piece in row))
        )
    vectors, (matrix, spans) = whole.encode_documents(mixed), merging.encode_with_spans(mixed, "document")
    for text in range(len(mixed)):
        rows = {
            piece: vector
            for (piece,), vector in zip(whole.spans([mixed[text]], "document")[0], vectors[text], strict=True)
        }
        if len(rows) < len(vectors[text]):
            continue  # equal pieces cannot be told apart
        for pieces, merged in zip(spans[text], matrix[text], strict=True):
            mean = np.mean([rows[piece] for piece in pieces], axis=0)
            np.testing.assert_allclose(merged, mean / np.linalg.norm(mean), atol=1e-5)


def test_only_ids_that_are_kept_have_an_entry(make: Make) -> None:
    encoder = load(make("bert", keep_only_token_ids=[9, 10]))
    spans = encoder.spans(["token", "", "what is retrieval"], "document")
    assert spans.offsets.tolist() == encoder.encode_documents(["token", "", "what is retrieval"]).offsets.tolist()
    assert [row[0].token for row in spans.rows] == ["retrieval"]


def test_no_texts(make: Make) -> None:
    matrix, spans = load(make("bert")).encode_with_spans([], "query")
    assert (len(matrix), len(spans), spans.rows, spans.offsets.tolist()) == (0, 0, (), [0])
    with pytest.raises(IndexError, match="there are 0 texts; 0 is none of them"):
        spans[0]


def test_what_is_no_task_or_no_list_is_refused(make: Make) -> None:
    encoder = load(make("bert"))
    with pytest.raises(InputError, match="unknown task 'passage'; expected one of query, document"):
        encoder.spans(["a"], "passage")
    with pytest.raises(TypeError, match="expected a list of texts, found one text"):
        encoder.spans("a", "query")


def test_spans_leave_the_counts_of_cut_texts_alone(make: Make) -> None:
    encoder = load(make("bert"))
    encoder.spans(["query " * 100], "document")
    assert (encoder.truncated, encoder.truncated_queries) == (0, 0)


def test_a_tokenizer_that_does_not_tell_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load(make("foreign"))
    assert isinstance(encoder, MultiVectorModelEncoder)
    slow = type("Slow", (), {"backend_tokenizer": None})()
    own = encoder.model.preprocess
    monkeypatch.setattr(encoder.model, "preprocess", lambda *args, **named: own(*args, **named))
    monkeypatch.setattr(type(encoder.model), "tokenizer", property(lambda model: slow))
    with pytest.raises(InputError, match="its tokenizer does not say which piece of a text each token is"):
        encoder.spans(["a"], "query")


@pytest.mark.parametrize("network", ["bert", "bytes"])
@pytest.mark.parametrize("prompt", [None, "[D] the "])
@pytest.mark.parametrize("factor", [None, 3.0])
def test_windows_of_a_long_text_name_each_of_its_tokens_once(
    network: str, prompt: str | None, factor: float | None, make: Make, mixed: list[str]
) -> None:
    folder = make(network, skiplist=(",",), prompts={"document": prompt} if prompt else None)
    encoder = load(folder, document_length=16, overlap=5, pool_factor=factor)
    texts = [*mixed, "retrieval of documents, naïve 🙂 " * 9]
    assert_tells_of_all(encoder, texts)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    for text, rows in zip(texts, encoder.spans(texts, "document"), strict=True):
        spans = sorted((piece.start, piece.end) for row in rows for piece in row if piece.is_text)
        whole = tokenizer.encode(text, add_special_tokens=False)
        if not prompt:  # with one, a first blank of the text may be a token of its own
            tokens = zip(whole.ids, whole.offsets, strict=True)
            kept = [(start, end) for number, (start, end) in tokens if tokenizer.id_to_token(number) != ","]
            assert len(spans) == len(kept)
            assert all(one[0] <= two[0] and two[1] <= one[1] for one, two in zip(sorted(kept), spans, strict=True))


def test_rows_of_fewer_bits_have_the_same_pieces(make: Make, mixed: list[str]) -> None:
    folder = make("bert")
    whole, rounded = load(folder).spans(mixed, "document"), load(folder, row_type="int8").spans(mixed, "document")
    assert whole.rows == rounded.rows
