"""A dense checkpoint with a network for queries and another for documents gives sentence-transformers' embeddings."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from transformers import AutoTokenizer, BertConfig, BertModel, ModernBertConfig, ModernBertModel

from modernir import InputError, load_encoder
from modernir.encoders.dense import DenseEncoder
from modernir.encoders.packed import PackedEncoder
from modernir.encoders.sentence_transformer import SentenceTransformerEncoder
from modernir.encoders.two_towers import TwoTowers

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def networks(bare_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    tokenizer = AutoTokenizer.from_pretrained(bare_bert)
    sizes = {"num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 64}
    common = {**sizes, "vocab_size": len(tokenizer) + 1, "num_hidden_layers": 2, "initializer_range": 0.3}
    roles = {f"{role}_token_id": token for role, token in {"pad": 0, "cls": 2, "bos": 2, "sep": 3, "eos": 3}.items()}
    torch.manual_seed(3)
    made = {
        "bert": BertModel(BertConfig(**common)),
        "other bert": BertModel(BertConfig(**common)),
        "relu": BertModel(BertConfig(**common, hidden_act="relu")),
        "modernbert": ModernBertModel(ModernBertConfig(**common, **roles, local_attention=16)),
    }
    folders = {}
    for name, model in made.items():
        folders[name] = tmp_path_factory.mktemp("network")
        model.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def make(networks: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that saves two towers with sentence-transformers itself."""

    def made(
        query: str = "bert",
        document: str = "other bert",
        pooling: str = "mean",
        project: bool = False,
        mapped: bool = False,
        after: bool = True,
        out: int = 32,
        default: str | None = "document",
    ) -> Path:
        torch.manual_seed(5)
        first = [Transformer(str(networks[query]), max_seq_length=12), Pooling(32, "mean")]
        second = first
        if document:
            second = [Transformer(str(networks[document]), max_seq_length=40), Pooling(32, pooling)]
            second += [Dense(32, out)] if project else []
        if mapped:
            mappings = {("query", "text"): "short", (None, "text"): "long"}
            router = Router({"long": second, "short": first}, default, route_mappings=mappings)
        else:
            router = Router.for_query_document(first, second, default, allow_empty_key=default is not None)
        modules = [router, *([Dense(32, 24), Normalize()] if after else [])]
        prompts = {"query": "what is ", "document": "the "}
        folder = tmp_path_factory.mktemp("towers")
        SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save_pretrained(str(folder))
        return folder

    return made


def load(folder: Path) -> DenseEncoder:
    return load_encoder(folder, device="cpu", precision="fp32", kind="dense")


PACKED, FOREIGN = PackedEncoder, SentenceTransformerEncoder


@pytest.mark.parametrize(
    ("settings", "query", "document"),
    [
        ({}, PACKED, PACKED),
        ({"query": "modernbert", "document": "modernbert", "pooling": "cls"}, PACKED, PACKED),
        ({"query": "bert", "document": "modernbert", "project": True}, PACKED, PACKED),
        ({"after": False, "mapped": True, "default": "long"}, PACKED, PACKED),
        ({"document": ""}, PACKED, PACKED),
        ({"document": "relu"}, PACKED, FOREIGN),
        ({"query": "relu", "pooling": "max", "default": None}, FOREIGN, FOREIGN),
    ],
    ids=str,
)
def test_embeddings_equal_sentence_transformers(
    settings: dict, query: type, document: type, make: Make, texts: list[str]
) -> None:
    folder = make(**settings)
    encoder, reference = load(folder), SentenceTransformer(str(folder), device="cpu")
    assert isinstance(encoder, TwoTowers)
    assert (type(encoder.towers["query"]), type(encoder.towers["document"])) == (query, document)
    assert encoder.dim == (24 if settings.get("after", True) else 32)
    np.testing.assert_allclose(encoder.encode_queries(texts), reference.encode_query(texts), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(texts), reference.encode_document(texts), atol=1e-5)
    streamed = np.concatenate([vectors for _, vectors in encoder.encode_stream([texts[:3], [], texts[3:]])])
    np.testing.assert_allclose(streamed, encoder.encode_documents(texts), atol=1e-6)


@pytest.mark.parametrize("document", ["other bert", "relu"])
def test_texts_are_cut_and_counted_at_the_length_of_their_tower(document: str, make: Make) -> None:
    encoder = load(make(document=document))
    assert (encoder.query_length, encoder.document_length, encoder.max_length) == (12, 40, 40)
    middling, long = "token " * 20, "token " * 60
    encoder.encode_queries([middling, "token"])
    encoder.encode_documents([middling, long])
    assert (encoder.truncated_queries, encoder.truncated) == (1, 1)
    assert (encoder.query_prompt, encoder.document_prompt) == ("what is ", "the ")


def test_the_towers_differ(make: Make) -> None:
    encoder = load(make())
    query, document = encoder.encode_queries(["dense retrieval"]), encoder.encode_documents(["dense retrieval"])
    assert np.abs(query - document).max() > 1e-2


def test_a_change_of_either_tower_changes_the_fingerprint(make: Make, tmp_path: Path) -> None:
    original = make()
    prints = {load(original).fingerprint}
    for task in ("query", "document"):
        folder = shutil.copytree(original, tmp_path / f"{task}-weights")
        file = folder / f"{task}_0_Transformer/model.safetensors"
        save_file({name: -x for name, x in load_file(file).items()}, file, metadata={"format": "pt"})
        prints.add(load(folder).fingerprint)
        folder = shutil.copytree(original, tmp_path / f"{task}-tokenizer")
        file = folder / f"{task}_0_Transformer/tokenizer.json"
        file.write_text(file.read_text() + "\n")
        prints.add(load(folder).fingerprint)
    folder = shutil.copytree(original, tmp_path / "exchanged")
    file = folder / "router_config.json"
    router = json.loads(file.read_text())
    router["structure"] = dict(zip(("document", "query"), router["structure"].values(), strict=True))
    file.write_text(json.dumps(router))
    prints.add(load(folder).fingerprint)
    assert len(prints) == 6
    assert load(shutil.copytree(original, tmp_path / "elsewhere")).fingerprint in prints


def test_the_fingerprint_of_towers_that_sentence_transformers_runs(make: Make, tmp_path: Path) -> None:
    original = make(query="relu", document="relu")
    folder = shutil.copytree(original, tmp_path / "other")
    file = folder / "document_0_Transformer/tokenizer.json"
    file.write_text(file.read_text() + "\n")
    assert load(original).fingerprint != load(folder).fingerprint


def test_one_precision_for_both(make: Make) -> None:
    encoder = load_encoder(make(query="bert", document="modernbert"), device="cpu")
    towers = encoder.towers.values()
    assert {tower.precision for tower in towers} == {encoder.precision}
    assert encoder.precision in ("bf16", "fp32")
    both = load_encoder(make(query="modernbert", document="modernbert"), device="cpu", preferred="fp32")
    assert both.precision == "fp32"


class TestWhatCannotBeLoaded:
    """One line that names the file or the model."""

    def test_towers_of_different_lengths(self, make: Make) -> None:
        folder = make(project=True, out=16, after=False)
        with pytest.raises(InputError, match="has vectors of 32 numbers for queries and 16 for documents") as raised:
            load(folder)
        assert str(folder) in str(raised.value)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"structure": {"query": ["query_0_Transformer"]}}, "has no route for a document; found query"),
            ({"structure": None}, "expected a 'structure' from routes to modules"),
            ({"types": {}}, "expected modules of the route 'query' that 'types' gives a class"),
            ({"structure": {"query": [], "document": []}}, "expected modules of the route 'query'"),
        ],
    )
    def test_a_router_without_sense(self, change: dict, said: str, make: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make(), tmp_path / "model")
        router = json.loads((folder / "router_config.json").read_text())
        (folder / "router_config.json").write_text(json.dumps(router | change))
        with pytest.raises(InputError, match=rf"router_config.json: .*{said}"):
            load(folder)

    def test_a_module_outside_of_the_folder(self, make: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make(), tmp_path / "model")
        written = (folder / "router_config.json").read_text().replace("query_0_Transformer", "../elsewhere")
        (folder / "router_config.json").write_text(written)
        with pytest.raises(InputError, match=r"router_config.json: the module path '\.\./elsewhere' leaves the folder"):
            load(folder)

    def test_damaged_weights_of_one_tower(self, make: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make(), tmp_path / "model")
        (folder / "document_0_Transformer/model.safetensors").write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match=r"document_0_Transformer/model.safetensors: damaged"):
            load(folder)


def test_an_index_is_built_and_searched_with_two_towers(
    call: Callable[..., SimpleNamespace], make: Make, tiny_beir: Path, tmp_path: Path
) -> None:
    folder, index, query = make(), tmp_path / "index", "a neural search"
    built = call("index", "corpus", tiny_beir, "--model", folder, "--index", index, "--precision", "fp32")
    assert built.code == 0
    found = call("search", query, "-i", index, "-k", 3, "--json")
    assert found.code == 0
    hits = json.loads(found.stdout)[0]["hits"]
    reference = SentenceTransformer(str(folder), device="cpu")
    rows = [json.loads(line) for line in (tiny_beir / "corpus.jsonl").read_text().splitlines()]
    texts = [f"{row['title']} {row['text']}".strip() for row in rows]
    scores = (reference.encode_query([query]) @ reference.encode_document(texts).T)[0]
    best = np.argsort(-scores)[:3]
    assert [hit["id"] for hit in hits] == [rows[number]["_id"] for number in best]
    np.testing.assert_allclose([hit["score"] for hit in hits], scores[best], atol=1e-5)
