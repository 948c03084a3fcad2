"""A ColBERT of ours gives sentence-transformers' token vectors, whatever else is in the batch."""

import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask

from modernir import InputError, load_encoder
from modernir.encoders import networks
from modernir.encoders.colbert import ColbertEncoder
from modernir.encoders.colbert import encoder as colbert_encoder
from modernir.encoders.colbert.packed import PackedColbert
from modernir.encoders.colbert.sentence_transformer import MultiVectorModelEncoder
from modernir.encoders.tokens import TokenMatrix

Make = Callable[..., Path]
ON_TOKENS = {"module_input_name": "token_embeddings"}
EXPANSIONS = {
    "none": None,
    "fixed": {"strategy": "fixed", "length": 14},
    "fixed, attended": {"strategy": "fixed", "attend": True, "length": 14},
    "fixed, beyond the window": {"strategy": "fixed", "length": 30},
    "fixed, with a word": {"strategy": "fixed", "length": 14, "token": "token"},
    "minimum": {"strategy": "min", "length": 8},
    "minimum, attended": {"strategy": "min", "attend": True, "length": 8},
}


@pytest.fixture(scope="module")
def networks_at_hand(bare_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bare networks with the tokenizer of the bare BERT, to which punctuation is added."""
    from tokenizers import Tokenizer
    from transformers import (
        AutoTokenizer,
        BertModel,
        DistilBertConfig,
        DistilBertModel,
        ModernBertConfig,
        ModernBertModel,
    )

    tokenizer = AutoTokenizer.from_pretrained(bare_bert)
    tokenizer.add_tokens([".", ",", "!", "?"])
    assert isinstance(tokenizer.backend_tokenizer, Tokenizer)
    roles = {"pad": 0, "cls": 2, "bos": 2, "sep": 3, "eos": 3}
    modern = ModernBertConfig(
        **{"num_attention_heads": 2, "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96}
        | {"num_hidden_layers": 4, "local_attention": 16, "max_position_embeddings": 96, "initializer_range": 0.2}
        | {f"{role}_token_id": token for role, token in roles.items()}
    )
    distil = DistilBertConfig(
        vocab_size=128, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64, initializer_range=0.3
    )
    torch.manual_seed(4)
    bert = BertModel.from_pretrained(bare_bert)
    bert.resize_token_embeddings(len(tokenizer))
    made = {"bert": bert, "modernbert": ModernBertModel(modern), "distilbert": DistilBertModel(distil)}
    folders = {}
    for name, model in made.items():
        folders[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def make_colbert(networks_at_hand: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that saves a ColBERT in sentence-transformers' format, on a network by its name."""

    def make(
        network: str = "modernbert",
        expansion: dict | None = None,
        skiplist: list[str] | None = None,
        dim: int | None = 16,
        normalize: bool = True,
        more: tuple = (),
        mask: dict | None = None,
        prompts: dict[str, str] | None = None,
        residual: bool = False,
        **lengths: int,
    ) -> Path:
        torch.manual_seed(5)
        lengths = {"max_seq_length": 40, "document_length": 36} | lengths
        modules: list = [Transformer(str(networks_at_hand[network]), query_expansion=expansion, **lengths)]
        width = modules[0].get_embedding_dimension()
        if dim:
            modules.append(Dense(width, dim, activation_function=torch.nn.GELU(), use_residual=residual, **ON_TOKENS))
        modules.append(MultiVectorMask(skiplist, **(mask or {})))
        if normalize:
            modules.append(Normalize(**ON_TOKENS))
        model = MultiVectorEncoder(modules=[*modules, *more], prompts=prompts, device="cpu")
        folder = tmp_path_factory.mktemp("colbert")
        model.save_pretrained(str(folder))
        return folder

    return make


@pytest.fixture(scope="module")
def mixed(texts: list[str]) -> list[str]:
    return [*texts, "token, query. what is it?!", "... , ! ?", "the [MASK] of query index " * 30]


def load(folder: Path, precision: str = "fp32", **settings: object) -> ColbertEncoder:
    encoder = load_encoder(folder, device="cpu", precision=precision, kind="late", **settings)
    assert isinstance(encoder, ColbertEncoder)
    return encoder


def assert_same(found: TokenMatrix, expected: list[np.ndarray], tolerance: float = 1e-5) -> None:
    assert [len(rows) for rows in found] == [len(rows) for rows in expected]
    for rows, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(rows, others, atol=tolerance)


def assert_equals_sentence_transformers(
    encoder: ColbertEncoder, folder: Path, texts: list[str], tolerance: float = 1e-5
) -> None:
    reference = MultiVectorEncoder(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    queries = reference.encode_query(texts, convert_to_numpy=True)
    documents = reference.encode_document(texts, convert_to_numpy=True)
    assert_same(encoder.encode_queries(texts), queries, tolerance)
    assert_same(encoder.encode_documents(texts), documents, tolerance)
    assert encoder.dim == queries[0].shape[1]


@pytest.mark.parametrize("expansion", list(EXPANSIONS))
@pytest.mark.parametrize("network", ["bert", "modernbert"])
def test_token_vectors_equal_sentence_transformers(
    network: str, expansion: str, make_colbert: Make, mixed: list[str]
) -> None:
    folder = make_colbert(network, EXPANSIONS[expansion], skiplist=list(string.punctuation))
    encoder = load(folder)
    assert isinstance(encoder, PackedColbert)
    assert_equals_sentence_transformers(encoder, folder, mixed)
    assert encoder.similarity == "cosine"
    for tokens in (encoder.encode_queries(mixed), encoder.encode_documents(mixed)):
        np.testing.assert_allclose(np.linalg.norm(tokens.values, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"prompts": {"query": "query ", "document": "the document "}},
        {"normalize": False},
        {"dim": None},
        {"residual": True},
        {"residual": True, "dim": 64},
        {"query_length": 7, "document_length": 30},
        {"query_length": 12, "expansion": {"strategy": "min", "length": 8}},
        {"skiplist": ["token", ".", "no such word"], "mask": {"skiplist_tasks": ["query", "document"]}},
        {"mask": {"keep_only_token_ids": [2, 5, 6, 7, 8, 9]}},
        {"more": (HierarchicalTokenPooling(2),)},
        {"more": (HierarchicalTokenPooling(3, num_protected_tokens=0, tasks=["query", "document"]),)},
        {"more": (HierarchicalTokenPooling(2, normalize_embeddings=False),)},
    ],
    ids=str,
)
def test_settings_are_followed_as_sentence_transformers_does(
    settings: dict, make_colbert: Make, mixed: list[str]
) -> None:
    folder = make_colbert(**settings)
    encoder = load(folder)
    assert isinstance(encoder, PackedColbert)
    assert_equals_sentence_transformers(encoder, folder, mixed)
    rows = encoder.encode_documents(mixed).values
    is_unit = np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert encoder.similarity == ("cosine" if is_unit else "dot")


@pytest.mark.parametrize("expansion", ["none", "fixed", "fixed, attended", "minimum"])
def test_other_architectures_run_through_sentence_transformers(
    expansion: str, make_colbert: Make, mixed: list[str]
) -> None:
    folder = make_colbert("distilbert", EXPANSIONS[expansion], skiplist=["."], more=(HierarchicalTokenPooling(2),))
    encoder = load(folder)
    assert isinstance(encoder, MultiVectorModelEncoder)
    assert_equals_sentence_transformers(encoder, folder, mixed)
    assert encoder.similarity == "cosine"
    with pytest.raises(InputError, match="not a ModernBERT that this package runs itself; leave int8 out"):
        load(folder, "int8")


@pytest.fixture(scope="module")
def expanding(make_colbert: Make) -> Path:
    return make_colbert(expansion=EXPANSIONS["fixed"], skiplist=list(string.punctuation))


@pytest.fixture(scope="module")
def encoder(expanding: Path) -> ColbertEncoder:
    return load(expanding)


@pytest.mark.parametrize("network", ["bert", "modernbert"])
@pytest.mark.parametrize("budget", [1, 50, 100_000])
def test_token_vectors_do_not_depend_on_neighbours(
    network: str, budget: int, make_colbert: Make, mixed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(make_colbert(network, EXPANSIONS["minimum"], skiplist=["."]))
    for encode in (encoder.encode_queries, encoder.encode_documents):
        alone = [encode([text])[0] for text in mixed]
        with monkeypatch.context() as patch:
            patch.setattr(networks.Kind, "budget", lambda kind, device: budget)
            patch.setitem(colbert_encoder.TEXTS_PER_BLOCK, "cpu", 7)
            assert_same(encode(mixed), alone)
            assert_same(encode(mixed[::-1]), alone[::-1])


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_stream_gives_what_one_call_gives(encoder: ColbertEncoder, mixed: list[str], size: int) -> None:
    numbered = list(enumerate(mixed))
    blocks = [numbered[start : start + size] for start in range(0, len(mixed), size)] + [[]]
    found = list(encoder.encode_stream(iter(blocks), lambda item: item[1]))
    assert [block for block, _ in found] == blocks
    whole = encoder.encode_documents(mixed)
    assert_same(whole, [rows for _, tokens in found for rows in tokens])


def test_a_fixed_expansion_gives_every_query_as_many_vectors(encoder: ColbertEncoder, mixed: list[str]) -> None:
    assert encoder.encode_queries([*mixed, ""]).lengths.tolist() == [14] * (len(mixed) + 1)


def test_no_texts_and_empty_texts(encoder: ColbertEncoder) -> None:
    none = encoder.encode_queries([])
    assert (len(none), none.values.shape, none.values.dtype) == (0, (0, 16), np.float32)
    assert len(encoder.encode_documents([])) == 0
    assert encoder.encode_documents(["", "... ! ?", ". "]).lengths.tolist() == [2, 2, 2]  # [CLS] and [SEP]


def test_a_text_without_a_token_has_no_vector(expanding: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(expanding, tmp_path / "model")
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    bare = load(folder)
    assert bare.encode_documents(["dense", "", ".", "query index"]).lengths.tolist() == [1, 0, 0, 2]
    assert bare.encode_queries(["", "dense"]).lengths.tolist() == [0, 14]
    assert len(bare.encode_documents(["", ""]).values) == 0


@pytest.mark.parametrize("network", ["modernbert", "distilbert"])
def test_cut_texts_are_counted(network: str, make_colbert: Make) -> None:
    encoder = load(make_colbert(network, EXPANSIONS["fixed"], document_length=20))
    whole, cut = "query " * 18, "query " * 19
    encoder.encode_documents([whole, cut, cut, ""])
    assert (encoder.truncated, encoder.truncated_queries) == (2, 0)
    encoder.encode_queries(["query " * 12, "query " * 13, "token"])
    assert (encoder.truncated, encoder.truncated_queries) == (2, 1)
    assert (encoder.query_length, encoder.document_length, encoder.max_length) == (14, 20, 20)


@pytest.mark.parametrize("network", ["modernbert", "distilbert"])
def test_the_caller_can_have_longer_documents(network: str, make_colbert: Make) -> None:
    folder = make_colbert(network, document_length=9)
    reference = MultiVectorEncoder(str(folder), device="cpu")
    reference[0].document_length = 60
    texts = ["the fast exact index " * 30, "query"]
    encoder = load(folder, document_length=60)
    assert_same(encoder.encode_documents(texts), reference.encode_document(texts, convert_to_numpy=True))
    assert encoder.encode_documents(texts).lengths[0] == 60


@pytest.mark.parametrize("factor", [1, 2.5, 1000])
@pytest.mark.parametrize("network", ["modernbert", "distilbert"])
def test_like_tokens_of_documents_are_merged(network: str, factor: float, make_colbert: Make, mixed: list[str]) -> None:
    folder = make_colbert(network)
    encoder, whole = load(folder, pool_factor=factor), load(folder)
    reference = MultiVectorEncoder(str(folder), device="cpu")
    expected = reference.encode_document(mixed, convert_to_numpy=True, token_pooling=HierarchicalTokenPooling(factor))
    assert_same(encoder.encode_documents(mixed), expected)
    assert_same(encoder.encode_queries(mixed), list(whole.encode_queries(mixed)), 0)
    assert (encoder.pool_factor, encoder.similarity, whole.pool_factor) == (factor, "cosine", 1)
    assert encoder.fingerprint == whole.fingerprint


def test_a_pool_factor_takes_the_place_of_the_checkpoints(make_colbert: Make, mixed: list[str]) -> None:
    plain = make_colbert()
    for network in ("modernbert", "distilbert"):
        expected = load(make_colbert(network), pool_factor=3).encode_documents(mixed)
        merging = make_colbert(network, more=(HierarchicalTokenPooling(2),))
        assert_same(load(merging, pool_factor=3).encode_documents(mixed), list(expected))
    assert load(merging).fingerprint != load(plain).fingerprint


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fewer_bits_stay_close(precision: str, encoder: ColbertEncoder, expanding: Path, mixed: list[str]) -> None:
    rounded = load(expanding, precision)
    assert rounded.precision == precision
    found, exact = rounded.encode_documents(mixed), encoder.encode_documents(mixed)
    assert found.values.dtype == np.float32
    cosines = (found.values * exact.values).sum(1)
    assert 0.9 < cosines.min() < 1 - 1e-6
    queries = [*mixed, "query " * 20]
    found = rounded.encode_queries(queries)
    cosines = (found.values * encoder.encode_queries(queries).values).sum(1)
    assert cosines.min() > 0.9
    # a query without room for a mask takes the same way as those with some
    assert_same(rounded.encode_queries(queries[-1:]), [found[len(queries) - 1]], 1e-6)


@pytest.mark.parametrize("attention", ["plain", "padded", "blockwise"])
def test_an_attention_back_end_of_choice_gives_the_same(
    attention: str, expanding: Path, encoder: ColbertEncoder, mixed: list[str]
) -> None:
    chosen = load(expanding, attention=attention)
    assert_same(chosen.encode_queries(mixed), list(encoder.encode_queries(mixed)))
    assert_same(chosen.encode_documents(mixed), list(encoder.encode_documents(mixed)))


def test_blocks_hold_fewer_texts_where_documents_are_long(encoder: ColbertEncoder, make_colbert: Make) -> None:
    assert encoder.block_size == 512
    limit = colbert_encoder.TOKENS_PER_BLOCK["cpu"]
    encoder = load(make_colbert())
    encoder.document_length = limit // 100
    assert encoder.block_size == 100
    encoder.document_length = limit
    assert encoder.block_size == colbert_encoder.FEWEST_TEXTS


def test_settings_of_reading_change_the_fingerprint(make_colbert: Make) -> None:
    kinds = ({}, {"skiplist": ["."]}, {"expansion": EXPANSIONS["fixed"]}, {"expansion": EXPANSIONS["fixed, attended"]})
    prints = [load(make_colbert(**kind)).fingerprint for kind in kinds]
    assert len(set(prints)) == len(kinds)
    assert load(make_colbert()).fingerprint == prints[0]


def test_the_tiny_colbert_equals_sentence_transformers(tiny_colbert: Path) -> None:
    texts = ["Red apples grow on old trees.", "", "sour lemons, against scurvy!"]
    encoder = load_encoder(tiny_colbert, device="cpu", precision="fp32")
    assert isinstance(encoder, PackedColbert)
    assert_equals_sentence_transformers(encoder, tiny_colbert, texts)


class TestBadInput:
    """One line that names what is wrong and where."""

    def test_lengths_beyond_the_networks_positions(self, make_colbert: Make) -> None:
        folder = make_colbert("bert", document_length=65)
        with pytest.raises(
            InputError, match=r"65 tokens of a document, as .* has it, but the network has 64 positions"
        ):
            load(folder)
        with pytest.raises(
            InputError, match=r"70 tokens of a document, as asked for, but the network has 64 positions"
        ):
            load(folder, document_length=70)
        assert load(folder, document_length=64).document_length == 64

    @pytest.mark.parametrize(
        ("file", "fields", "said"),
        [
            ("sentence_bert_config.json", {"query_expansion": {"strategy": "some"}}, "query_expansion is .*strategy"),
            ("sentence_bert_config.json", {"query_expansion": {"strategy": "fixed"}}, "length is 0; expected a whole"),
            (
                "sentence_bert_config.json",
                {"query_expansion": {"strategy": "min", "length": 9, "attend": "no"}},
                "attend is 'no'; expected true or false",
            ),
            (
                "sentence_bert_config.json",
                {"query_expansion": {"strategy": "min", "length": 9, "token": "no such"}},
                "has no no such, which queries are to be filled up with",
            ),
            ("2_MultiVectorMask/config.json", {"skiplist_words": [1]}, "skiplist_words is .1.; expected a list of"),
            ("2_MultiVectorMask/config.json", {"keep_only_token_ids": ["a"]}, "keep_only_token_ids is .*numbers"),
            ("sentence_bert_config.json", {"document_length": 2}, "of a document, 2 tokens are read, which with 2"),
        ],
    )
    def test_settings_without_sense(
        self, file: str, fields: dict, said: str, make_colbert: Make, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(make_colbert(), tmp_path / "model")
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(content | fields))
        with pytest.raises(InputError, match=said):
            load(folder)

    def test_what_is_for_the_other_kind(self, make_colbert: Make, tiny_model: Path) -> None:
        with pytest.raises(InputError, match=r"a multi-vector \(ColBERT\) checkpoint, where a dense .* was expected"):
            load_encoder(make_colbert(), kind="dense")
        with pytest.raises(InputError, match=r"a dense \(single-vector\) checkpoint, where a multi-vector"):
            load_encoder(tiny_model, kind="late")
        with pytest.raises(InputError, match="a dense model; pool_factor is for multi-vector"):
            load_encoder(tiny_model, pool_factor=2)
        for settings in ({"pool_factor": 0.5}, {"document_length": 0}):
            with pytest.raises(InputError, match=f"{next(iter(settings))} is .*at least 1"):
                load(make_colbert(), **settings)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"overlap": 1.5}, "overlap is 1.5; expected a whole number of at least 0"),
            ({"overlap": "3"}, "overlap is '3'; expected a whole number"),
            ({"overlap": True}, "overlap is True; expected a whole number"),
            ({"document_length": 64.5}, "document_length is 64.5; expected a whole number of at least 1"),
            ({"document_length": True}, "document_length is True; expected a whole number"),
            ({"pool_factor": float("inf")}, "pool_factor is inf; expected a number of at least 1, and a finite one"),
            ({"pool_factor": float("nan")}, "pool_factor is nan; expected"),
            ({"pool_factor": "2"}, "pool_factor is '2'; expected"),
            ({"pool_factor": True}, "pool_factor is True; expected"),
        ],
        ids=str,
    )
    def test_what_is_no_number_of_its_kind(self, settings: dict, said: str, make_colbert: Make) -> None:
        with pytest.raises(InputError, match=said):
            load(make_colbert(), **settings)

    @pytest.mark.parametrize("network", ["bert", "modernbert"])
    def test_a_length_that_the_prompt_fills(self, network: str, make_colbert: Make) -> None:
        folder = make_colbert(network, prompts={"query": "", "document": "what is the "})
        for length in (3, 4, 5):
            with pytest.raises(
                InputError, match=rf"a document, {length} tokens are read, which the prompt 'what is the '"
            ):
                load(folder, document_length=length)
        one, other = load(folder, document_length=6).encode_documents(["token", "index"])
        assert len(one) == 6
        assert not np.allclose(one, other)

    def test_weights_that_sentence_transformers_would_run_are_checked_too(
        self, make_colbert: Make, tmp_path: Path
    ) -> None:
        from safetensors.torch import load_file, save_file

        folder = shutil.copytree(make_colbert("bert"), tmp_path / "model")
        content = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(content | {"truncation_side": "left"}))
        assert isinstance(load(folder), MultiVectorModelEncoder)
        tensors = load_file(folder / "model.safetensors")
        tensors.pop("encoder.layer.1.output.dense.weight")
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match=r"the weights lack the tensor 'encoder.layer.1.output.dense.weight'"):
            load(folder)
