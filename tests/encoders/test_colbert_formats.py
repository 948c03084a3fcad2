"""Folders as PyLate and Stanford's code write them give what those libraries compute, worked out by hand here."""

import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, BertModel

from modernir import InputError, load_encoder
from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.colbert import ColbertEncoder
from modernir.encoders.colbert.packed import PackedColbert
from modernir.encoders.colbert.sentence_transformer import MultiVectorModelEncoder
from modernir.encoders.formats import FORMATS, find_format
from modernir.encoders.tokens import TokenMatrix

Make = Callable[..., Path]
PUNCTUATION = [".", ",", "!", "?"]
DIM = 12


@pytest.fixture(scope="module")
def mixed(texts: list[str]) -> list[str]:
    return [*texts, "token, query. what is it?!", "... , ! ?", "the [MASK] of query index " * 30]


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def make_pylate(bare_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that writes the files that PyLate's `ColBERT.save_pretrained` does."""

    def make(network: str = "bert", old: bool = False, residual: bool = False, **settings: object) -> Path:
        folder = tmp_path_factory.mktemp("pylate")
        tokenizer = AutoTokenizer.from_pretrained(bare_bert)
        tokenizer.add_tokens(PUNCTUATION)
        prefixes = [
            settings.get(f"{task}_prefix", marker) for task, marker in (("query", "[Q] "), ("document", "[D] "))
        ]
        tokenizer.add_tokens([prefix for prefix in prefixes if prefix])
        tokenizer.pad_token = tokenizer.mask_token
        torch.manual_seed(6)
        model = network_of(network, bare_bert, len(tokenizer))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        width = model.config.hidden_size
        old_names = ("sentence_transformers.models.Transformer", "pylate.models.Dense.Dense")
        names = old_names if old else ("sentence_transformers.base.modules.transformer.Transformer", old_names[1])
        modules = [
            {"idx": place, "name": str(place), "path": path, "type": name}
            for place, (path, name) in enumerate(zip(("", "1_Dense"), names, strict=True))
        ]
        write_json(folder / "modules.json", modules)
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": 29, "do_lower_case": False})
        dense = {
            **{"in_features": width, "out_features": DIM, "bias": False},
            "activation_function": "torch.nn.modules.linear.Identity",
        }
        weights = {"linear.weight": torch.randn(DIM, width)}
        if residual:
            weights["residual.weight"] = torch.randn(DIM, width)
        write_json(folder / "1_Dense/config.json", dense | ({} if old else {"use_residual": residual}))
        save_file(weights, folder / "1_Dense/model.safetensors")
        ours = {
            **{"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 14, "document_length": 30},
            **{"attend_to_expansion_tokens": False, "skiplist_words": list(string.punctuation)},
            "do_query_expansion": True,
        } | settings
        common = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "MaxSim"}
        common |= {} if old else {"model_type": "ColBERT"}
        kept = {name: value for name, value in ours.items() if value != "left out"}
        write_json(folder / "config_sentence_transformers.json", common | kept)
        return folder

    return make


def network_of(name: str, bare_bert: Path, vocabulary: int) -> torch.nn.Module:
    if name == "bert":
        model = BertModel.from_pretrained(bare_bert)
        model.resize_token_embeddings(vocabulary)
        return model
    from transformers import ModernBertConfig, ModernBertModel

    roles = {f"{role}_token_id": token for role, token in {"pad": 4, "cls": 2, "bos": 2, "sep": 3, "eos": 3}.items()}
    config = ModernBertConfig(
        **{"num_attention_heads": 2, "vocab_size": vocabulary, "hidden_size": 64, "intermediate_size": 96}
        | {"num_hidden_layers": 3, "local_attention": 32, "max_position_embeddings": 64, "initializer_range": 0.2}
        | roles
    )
    return ModernBertModel(config)


@torch.no_grad()
def by_pylate(folder: Path, texts: list[str], is_query: bool) -> list[np.ndarray]:
    """Encode texts one by one as PyLate does: tokenise to one less, insert the marker, project, skip, normalise."""
    own = json.loads((folder / "config_sentence_transformers.json").read_text())
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    weights = load_file(folder / "1_Dense/model.safetensors")
    task = "query" if is_query else "document"
    prefix, length = own[f"{task}_prefix"], own[f"{task}_length"]
    expands = is_query and own["do_query_expansion"]
    skipped = [tokenizer.convert_tokens_to_ids(word) for word in own["skiplist_words"]]
    found = []
    for text in texts:
        padding = "max_length" if expands else False
        read = tokenizer(text, truncation=True, max_length=length - bool(prefix), padding=padding, return_tensors="pt")
        ids, mask = read["input_ids"], read["attention_mask"]
        if prefix:
            marker = torch.tensor([[tokenizer.convert_tokens_to_ids(prefix)]])
            ids = torch.cat([ids[:, :1], marker, ids[:, 1:]], 1)
            mask = torch.cat([mask[:, :1], torch.ones_like(marker), mask[:, 1:]], 1)
        if expands and own["attend_to_expansion_tokens"]:
            mask = torch.ones_like(mask)
        states = network(input_ids=ids, attention_mask=mask).last_hidden_state[0]
        rows = states @ weights["linear.weight"].T
        if "residual.weight" in weights:
            rows = rows + states @ weights["residual.weight"].T
        if not is_query:
            words = [word for word, skip in zip(own["skiplist_words"], skipped, strict=True) if skip != 1]
            rows = rows[[int(number) not in tokenizer.convert_tokens_to_ids(words) for number in ids[0]]]
        found.append(F.normalize(rows, dim=-1).numpy())
    return found


def assert_same(found: TokenMatrix, expected: list[np.ndarray], tolerance: float = 1e-5) -> None:
    assert [len(rows) for rows in found] == [len(rows) for rows in expected]
    for rows, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(rows, others, atol=tolerance)


def load(folder: Path, **settings: object) -> ColbertEncoder:
    return load_encoder(folder, device="cpu", precision="fp32", kind="late", **settings)


@pytest.mark.parametrize("network", ["bert", "modernbert"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attend_to_expansion_tokens": True},
        {"do_query_expansion": False},
        {"query_prefix": "", "document_prefix": ""},
        {"query_prefix": "[unused0]", "document_prefix": "[unused1]", "skiplist_words": ["token", "."]},
        {"skiplist_words": [], "query_length": 31, "residual": True},
    ],
    ids=str,
)
def test_pylate_folders_give_pylates_vectors(network: str, settings: dict, make_pylate: Make, mixed: list[str]) -> None:
    folder = make_pylate(network, **settings)
    encoder = load(folder)
    assert isinstance(encoder, PackedColbert)
    assert_same(encoder.encode_queries(mixed), by_pylate(folder, mixed, is_query=True))
    assert_same(encoder.encode_documents(mixed), by_pylate(folder, mixed, is_query=False))
    assert (encoder.dim, encoder.similarity, encoder.document_length) == (DIM, "cosine", 30)
    assert encoder.query_marker == settings.get("query_prefix", "[Q] ")


def test_what_a_pylate_folder_leaves_out_is_pylates_default(make_pylate: Make, mixed: list[str]) -> None:
    names = ("document_length", "attend_to_expansion_tokens", "skiplist_words", "do_query_expansion")
    sparse = load(make_pylate("modernbert", old=True, **dict.fromkeys(names, "left out")), document_length=30)
    whole = load(make_pylate("modernbert"))
    assert_same(sparse.encode_queries(mixed), list(whole.encode_queries(mixed)), 0)
    assert_same(sparse.encode_documents(mixed), list(whole.encode_documents(mixed)), 0)
    with pytest.raises(InputError, match=r"180 tokens of a document, as .* has it, but the network has 64 positions"):
        load(make_pylate("modernbert", document_length="left out"))


def test_a_pylate_folder_equals_what_sentence_transformers_makes_of_it(make_pylate: Make, mixed: list[str]) -> None:
    folder = make_pylate("modernbert")
    reference, encoder = MultiVectorEncoder(str(folder), device="cpu"), load(folder)
    assert_same(encoder.encode_queries(mixed), reference.encode_query(mixed, convert_to_numpy=True))
    assert_same(encoder.encode_documents(mixed), reference.encode_document(mixed, convert_to_numpy=True))


def test_a_pylate_folder_that_sentence_transformers_saved_again_gives_the_same(
    make_pylate: Make, tmp_path: Path, mixed: list[str]
) -> None:
    folder = make_pylate("modernbert")
    MultiVectorEncoder(str(folder), device="cpu").save_pretrained(str(tmp_path / "again"))
    encoder, again = load(folder), load(tmp_path / "again")
    assert find_format(open_checkpoint(tmp_path / "again")).name == "sentence-transformers MultiVectorEncoder"
    assert isinstance(again, PackedColbert)
    assert_same(again.encode_queries(mixed), list(encoder.encode_queries(mixed)))
    assert_same(again.encode_documents(mixed), list(encoder.encode_documents(mixed)))


def test_prompts_of_a_pylate_folder_come_after_the_marker(make_pylate: Make, mixed: list[str]) -> None:
    folder = make_pylate(prompts={"query": "[Q] search ", "document": "the "})
    encoder, plain = load(folder), load(make_pylate())
    longer = [f"search {text}" for text in mixed]
    assert_same(encoder.encode_queries(mixed), list(plain.encode_queries(longer)))
    assert_same(encoder.encode_documents(mixed), list(plain.encode_documents([f"the {text}" for text in mixed])))


def test_pylates_settings_change_the_fingerprint(make_pylate: Make) -> None:
    kinds = ({}, {"query_length": 15}, {"do_query_expansion": False}, {"skiplist_words": []})
    prints = [load(make_pylate(**kind)).fingerprint for kind in kinds]
    assert len(set(prints)) == len(kinds)


def test_a_pylate_folder_of_another_architecture_runs_through_sentence_transformers(
    make_pylate: Make, tmp_path: Path, mixed: list[str]
) -> None:
    folder = shutil.copytree(make_pylate(), tmp_path / "model")
    content = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", content | {"hidden_act": "relu"})
    encoder = load(folder)
    assert isinstance(encoder, MultiVectorModelEncoder)
    assert_same(encoder.encode_queries(mixed), by_pylate(folder, mixed, is_query=True))
    assert_same(encoder.encode_documents(mixed), by_pylate(folder, mixed, is_query=False))
    assert encoder.similarity == "cosine"
    assert encoder.truncated == sum(
        len(encoding) > 30 for encoding in encoder.model.tokenizer([f"[D] {text}" for text in mixed])["input_ids"]
    )


@pytest.fixture(scope="module")
def make_stanford(bare_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that writes a checkpoint of Stanford's ColBERT: one set of weights, and `artifact.metadata`."""

    def make(linear: bool = True, **metadata: object) -> Path:
        folder = tmp_path_factory.mktemp("stanford")
        tokenizer = AutoTokenizer.from_pretrained(bare_bert)
        tokenizer.add_tokens([*PUNCTUATION, "[unused0]", "[unused1]", "[unused2]"])
        tokenizer.save_pretrained(folder)
        torch.manual_seed(7)
        network = network_of("bert", bare_bert, len(tokenizer))
        write_json(folder / "config.json", network.config.to_dict() | {"architectures": ["HF_ColBERT"]})
        weights = {f"bert.{name}": tensor.clone() for name, tensor in network.state_dict().items()}
        weights |= {"linear.weight": torch.randn(DIM, 32)} if linear else {}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        if metadata.get("file", True):
            found = {
                **{"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 14, "doc_maxlen": 30},
                **{"attend_to_mask_tokens": False, "mask_punctuation": True, "similarity": "cosine", "lr": 3e-6},
            }
            write_json(folder / "artifact.metadata", found | metadata)
        return folder

    return make


@torch.no_grad()
def by_stanford(folder: Path, texts: list[str], is_query: bool, network: BertModel) -> list[np.ndarray]:
    """Encode texts one by one as Stanford's code does: a dot stands in for the marker while the text is tokenised."""
    own = json.loads((folder / "artifact.metadata").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    linear = load_file(folder / "model.safetensors")["linear.weight"]
    maximum, marker = (
        (own["query_maxlen"], own["query_token_id"]) if is_query else (own["doc_maxlen"], own["doc_token_id"])
    )
    skipped = {tokenizer.convert_tokens_to_ids(mark) for mark in PUNCTUATION} if own["mask_punctuation"] else set()
    found = []
    for text in texts:
        padding = "max_length" if is_query else False
        read = tokenizer(f". {text}", padding=padding, truncation=True, max_length=maximum, return_tensors="pt")
        ids, mask = read["input_ids"], read["attention_mask"]
        ids[:, 1] = tokenizer.convert_tokens_to_ids(marker)
        if is_query:
            ids[ids == tokenizer.pad_token_id] = tokenizer.mask_token_id
            mask = torch.ones_like(mask) if own["attend_to_mask_tokens"] else mask
        rows = network(input_ids=ids, attention_mask=mask).last_hidden_state[0] @ linear.T
        if not is_query:
            rows = rows[[int(number) not in skipped for number in ids[0]]]
        found.append(F.normalize(rows, dim=-1).numpy())
    return found


def stanford_network(folder: Path) -> BertModel:
    config = BertModel.config_class.from_pretrained(folder)
    network = BertModel(config).eval()
    weights = load_file(folder / "model.safetensors")
    network.load_state_dict({name[5:]: tensor for name, tensor in weights.items() if name.startswith("bert.")})
    return network


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"attend_to_mask_tokens": True},
        {"mask_punctuation": False, "query_token_id": "[unused2]"},
        {"query_maxlen": 31, "doc_maxlen": 20},
    ],
    ids=str,
)
def test_stanford_folders_give_stanfords_vectors(metadata: dict, make_stanford: Make, mixed: list[str]) -> None:
    folder = make_stanford(**metadata)
    encoder, network = load(folder), stanford_network(folder)
    assert isinstance(encoder, PackedColbert)
    assert_same(encoder.encode_queries(mixed), by_stanford(folder, mixed, True, network))
    assert_same(encoder.encode_documents(mixed), by_stanford(folder, mixed, False, network))
    assert (encoder.dim, encoder.similarity) == (DIM, "cosine")
    reference = MultiVectorEncoder(str(folder), device="cpu")
    assert_same(encoder.encode_documents(mixed), reference.encode_document(mixed, convert_to_numpy=True))


def test_stanfords_settings_and_no_others_change_the_fingerprint(make_stanford: Make) -> None:
    kinds = ({}, {"query_maxlen": 15}, {"mask_punctuation": False})
    prints = [load(make_stanford(**kind)).fingerprint for kind in kinds]
    assert len(set(prints)) == len(kinds)
    assert load(make_stanford(lr=1.0, root="elsewhere")).fingerprint == prints[0]


class TestWhatFitsNoFormat:
    """One line that says what was found and what was expected."""

    def test_a_kind_of_model_that_is_no_encoder(self, tiny_model: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny_model, tmp_path / "model")
        content = json.loads((folder / "config_sentence_transformers.json").read_text())
        write_json(folder / "config_sentence_transformers.json", content | {"model_type": "SparseEncoder"})
        with pytest.raises(InputError, match="a SparseEncoder, which no format of encoders fits; tried:") as raised:
            load_encoder(folder)
        assert all(form.name in str(raised.value) and form.mark in str(raised.value) for form in FORMATS)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"modules.json .sentence-transformers, PyLate. or config.json .a network"):
            load_encoder(tmp_path)

    def test_a_marker_that_the_tokenizer_lacks(self, make_pylate: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_pylate(), tmp_path / "model")
        content = json.loads((folder / "config_sentence_transformers.json").read_text())
        write_json(folder / "config_sentence_transformers.json", content | {"document_prefix": "[Doc] "})
        said = r"tokenizer.json: has no token '\[Doc\] ', the marker that .*config_sentence_transformers.json asks for"
        with pytest.raises(InputError, match=said):
            load(folder)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"query_length": "long"}, "config_sentence_transformers.json: query_length is 'long'"),
            ({"document_length": 65}, "65 tokens of a document, as .* has it, but the network has 64 positions"),
            ({"document_length": 3}, "of a document, 2 tokens are read, which with 2 special ones leaves none"),
            ({"do_query_expansion": "yes"}, "do_query_expansion is 'yes'; expected true or false"),
            ({"skiplist_words": {"a": 1}}, "skiplist_words is .*; expected a list of texts"),
        ],
    )
    def test_settings_of_pylate_without_sense(self, settings: dict, said: str, make_pylate: Make) -> None:
        with pytest.raises(InputError, match=said):
            load(make_pylate(**settings))

    def test_what_stanfords_code_has_and_no_index_here(self, make_stanford: Make) -> None:
        with pytest.raises(InputError, match=r"artifact.metadata: similarity is 'l2'; only 'cosine' is supported"):
            load(make_stanford(similarity="l2"))
        with pytest.raises(InputError, match=r"the weights lack the matrix 'linear.weight', the projection"):
            load(make_stanford(linear=False))
