"""An encoder of ours gives sentence-transformers' embeddings, whatever else is in the batch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from modernir import InputError, load_encoder
from modernir.encoders import packed
from modernir.encoders.bundled import bundled_folder
from modernir.encoders.packed import PackedEncoder
from modernir.encoders.sentence_transformer import SentenceTransformerEncoder

Make = Callable[..., Path]


@pytest.mark.parametrize(
    "kind",
    [
        {"pooling": "mean"},
        {"pooling": "cls", "normalize": False},
        {"pooling": "mean", "dense": 16},
        {"pooling": "mean", "dense": 48, "normalize": False, "similarity": "dot"},
        {"prompts": {"query": "query ", "document": "the document "}},
        {"prompts": {"query": "query ", "passage": "token "}},
        {"max_length": 9},
        {"query_length": 6, "document_length": 30},
    ],
    ids=str,
)
def test_embeddings_equal_sentence_transformers(kind: dict, make_checkpoint: Make, texts: list[str]) -> None:
    folder = make_checkpoint(**kind)
    encoder = load_encoder(folder, device="cpu", precision="fp32")
    reference = SentenceTransformer(str(folder), device="cpu")
    assert isinstance(encoder, PackedEncoder)
    np.testing.assert_allclose(encoder.encode_queries(texts), reference.encode_query(texts), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(texts), reference.encode_document(texts), atol=1e-5)
    assert encoder.dim == reference.get_embedding_dimension()
    assert encoder.max_length == reference.max_seq_length
    assert encoder.similarity == ("dot" if reference.similarity_fn_name == "dot" else "cosine")


def test_a_bare_network_gets_mean_pooling(bare_bert: Path, texts: list[str]) -> None:
    encoder = load_encoder(bare_bert, device="cpu", precision="fp32")
    reference = SentenceTransformer(str(bare_bert), device="cpu")
    assert isinstance(encoder, PackedEncoder)
    np.testing.assert_allclose(encoder.encode_documents(texts), reference.encode(texts), atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "weightedmean", "lasttoken"])
def test_other_poolings_run_through_sentence_transformers(
    pooling: str, make_checkpoint: Make, texts: list[str]
) -> None:
    folder = make_checkpoint(pooling=pooling)
    encoder = load_encoder(folder, device="cpu", precision="fp32")
    assert isinstance(encoder, SentenceTransformerEncoder)
    reference = SentenceTransformer(str(folder), device="cpu").encode_document(texts)
    np.testing.assert_allclose(encoder.encode_documents(texts), reference, atol=1e-5)


def test_a_bare_modernbert_gets_mean_pooling(tmp_path: Path, bare_bert: Path, texts: list[str]) -> None:
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel

    config = ModernBertConfig(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    ModernBertModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(bare_bert).save_pretrained(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu", precision="fp32")
    reference = SentenceTransformer(str(tmp_path), device="cpu")
    found = encoder.encode_documents(texts)
    assert found.shape == (len(texts), 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference.encode(texts), atol=1e-5)


@pytest.mark.parametrize("budget", [1, 40, 100_000])
def test_an_embedding_does_not_depend_on_its_neighbours(
    budget: int, make_checkpoint: Make, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(make_checkpoint(), device="cpu", precision="fp32")
    alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
    monkeypatch.setitem(packed.TOKENS_PER_BATCH, "cpu", budget)
    monkeypatch.setattr(packed, "TEXTS_PER_BLOCK", 7)
    np.testing.assert_allclose(encoder.encode_documents(texts), alone, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(texts[::-1])[::-1], alone, atol=1e-5)


def test_bf16_stays_close_to_fp32(make_checkpoint: Make, texts: list[str]) -> None:
    folder = make_checkpoint()
    exact = load_encoder(folder, device="cpu", precision="fp32").encode_documents(texts)
    rounded = load_encoder(folder, device="cpu", precision="bf16").encode_documents(texts)
    assert rounded.dtype == np.float32
    assert (exact * rounded).sum(axis=1).min() > 0.999


def test_the_demo_model_equals_sentence_transformers() -> None:
    texts = [
        "Vitamin D deficiency",
        "0-dimensional biomaterials lack inductive properties.",
        "naïve Ünïcödé 漢字 " * 90,
    ]
    reference = SentenceTransformer(str(bundled_folder("demo")), device="cpu").encode(texts)
    found = load_encoder("demo", device="cpu", precision="fp32").encode_documents(texts)
    np.testing.assert_allclose(found, reference, atol=1e-5)


def test_no_texts_give_no_rows_and_one_text_is_no_list(make_checkpoint: Make) -> None:
    encoder = load_encoder(make_checkpoint(), device="cpu")
    assert encoder.encode_queries([]).shape == (0, 32)
    with pytest.raises(TypeError, match="list of texts"):
        encoder.encode_queries("one text")


def test_the_fingerprint_follows_the_model_not_its_place(make_checkpoint: Make, tmp_path: Path) -> None:
    folder = make_checkpoint()
    original = load_encoder(folder).fingerprint

    def changed(change: Callable[[Path], object]) -> str:
        copy = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        shutil.copytree(folder, copy)
        change(copy)
        return load_encoder(copy).fingerprint

    def set_prompt(copy: Path) -> None:
        file = copy / "config_sentence_transformers.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"prompts": {"query": "q: "}}))

    def set_length(copy: Path) -> None:
        file = copy / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 12}))

    def flip_weight(copy: Path) -> None:
        file = copy / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)

    assert changed(lambda copy: (copy / "README.md").write_text("other")) == original
    others = {changed(set_prompt), changed(set_length), changed(flip_weight)}
    assert len(others) == 3
    assert original not in others


def test_the_precision_chosen_by_itself_is_one_that_the_device_has() -> None:
    import torch

    from modernir.encoders.precision import resolve_precision

    assert resolve_precision(None, torch.device("cpu")) in ("fp32", "bf16")
    assert resolve_precision(None, torch.device("meta")) == "fp32"


class TestRefusals:
    """Each names what was found and what to do."""

    def test_weights_that_are_pickles(self, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(InputError, match=r"only pickled ones"):
            load_encoder(folder)

    def test_damaged_weights(self, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        (folder / "model.safetensors").write_bytes(b"not tensors")
        with pytest.raises(InputError, match=r"model.safetensors: damaged"):
            load_encoder(folder)

    def test_missing_tensors(self, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 3}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=r"lack the tensor 'encoder.layer.2"):
            load_encoder(folder)

    def test_a_module_path_that_leaves_the_folder(self, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["path"] = "../elsewhere"
        (folder / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(InputError, match="leaves the folder"):
            load_encoder(folder)

    def test_a_multi_vector_checkpoint(self, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["type"] = "pylate.models.Dense.Dense"
        (folder / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(InputError, match="multi-vector"):
            load_encoder(folder)

    def test_a_folder_that_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"not a model folder; expected modules.json"):
            load_encoder(tmp_path)

    @pytest.mark.parametrize("name", ["no-such-model", "owner/no-such-model", "/no/such/folder", "not a name"])
    def test_an_unknown_model(self, name: str) -> None:
        with pytest.raises(InputError, match=name):
            load_encoder(name)

    def test_an_unknown_device_or_precision(self, make_checkpoint: Make) -> None:
        folder = make_checkpoint()
        with pytest.raises(InputError, match="'abacus'"):
            load_encoder(folder, device="abacus")
        with pytest.raises(InputError, match="'int3'; expected one of fp32, bf16, fp16"):
            load_encoder(folder, device="cpu", precision="int3")
        with pytest.raises(InputError, match="fp16 is for GPUs"):
            load_encoder(folder, device="cpu", precision="fp16")
