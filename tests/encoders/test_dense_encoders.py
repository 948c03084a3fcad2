"""An encoder of ours gives sentence-transformers' embeddings, whatever else is in the batch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from modernir import InputError, load_encoder
from modernir.encoders import dense, networks
from modernir.encoders.bundled import bundled_folder
from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.packed import PackedEncoder, load_packed
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


@pytest.fixture(scope="module")
def make_modernbert(bare_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that saves a bare ModernBERT of 3 layers, whose windows are shorter than the longest text."""
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertForMaskedLM, ModernBertModel

    roles = {"pad": 0, "cls": 2, "bos": 2, "sep": 3, "eos": 3}

    def make(head: bool = False, **fields: object) -> Path:
        config = ModernBertConfig(
            **{"num_attention_heads": 2, "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96}
            | {"num_hidden_layers": 3, "local_attention": 8, "max_position_embeddings": 64, "initializer_range": 0.3}
            | {f"{role}_token_id": token for role, token in roles.items()}
            | fields
        )
        torch.manual_seed(2)
        folder = tmp_path_factory.mktemp("modernbert")
        (ModernBertForMaskedLM if head else ModernBertModel)(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(bare_bert).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def modernbert(make_modernbert: Make) -> Path:
    return make_modernbert()


def save_model(bare: Path, folder: Path, *modules: torch.nn.Module, **settings: object) -> Path:
    from sentence_transformers.sentence_transformer.modules import Transformer

    model = SentenceTransformer(modules=[Transformer(str(bare), max_seq_length=24), *modules], **settings)
    model.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("dense", [False, True])
def test_modernbert_embeddings_equal_sentence_transformers(
    pooling: str, dense: bool, modernbert: Path, tmp_path: Path, texts: list[str]
) -> None:
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

    torch.manual_seed(3)
    after = [Dense(64, 16)] if dense else []
    prompts = {"query": "query ", "document": "the document "}
    folder = save_model(modernbert, tmp_path, Pooling(64, pooling), *after, Normalize(), prompts=prompts)
    encoder = load_encoder(folder, device="cpu", precision="fp32")
    reference = SentenceTransformer(str(folder), device="cpu")
    assert isinstance(encoder, PackedEncoder)
    assert encoder.dim == (16 if dense else 64)
    np.testing.assert_allclose(encoder.encode_queries(texts), reference.encode_query(texts), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(texts), reference.encode_document(texts), atol=1e-5)


@pytest.mark.parametrize(
    "fields", [{}, {"head": True}, {"num_attention_heads": 4}], ids=["encoder", "masked language model", "narrow heads"]
)
def test_a_bare_modernbert_gets_mean_pooling(fields: dict, make_modernbert: Make, texts: list[str]) -> None:
    folder = make_modernbert(**fields)
    encoder = load_encoder(folder, device="cpu", precision="fp32")
    reference = SentenceTransformer(str(folder), device="cpu")
    assert isinstance(encoder, PackedEncoder)
    np.testing.assert_allclose(encoder.encode_documents(texts), reference.encode(texts), atol=5e-5)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_modernbert_in_fewer_bits_stays_close(precision: str, modernbert: Path, texts: list[str]) -> None:
    exact = load_encoder(modernbert, device="cpu", precision="fp32").encode_documents(texts)
    encoder = load_encoder(modernbert, device="cpu", precision=precision)
    assert encoder.precision == precision
    found = encoder.encode_documents(texts)
    assert found.dtype == np.float32
    cosines = (exact * found).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
    assert 0.99 < cosines.min() < 1 - 1e-7


@pytest.mark.parametrize("attention", ["plain", "padded"])
def test_an_attention_back_end_of_choice_gives_the_same(attention: str, modernbert: Path, texts: list[str]) -> None:
    chosen = load_encoder(modernbert, device="cpu", precision="fp32", attention=attention)
    best = load_encoder(modernbert, device="cpu", precision="fp32")
    np.testing.assert_allclose(chosen.encode_documents(texts), best.encode_documents(texts), atol=5e-5)


@pytest.mark.parametrize("tokenizer", [{}, {"truncation_side": "left"}], ids=["ours", "sentence-transformers"])
def test_a_modernbert_that_is_not_ours_is_refused(tokenizer: dict, make_modernbert: Make) -> None:
    folder = make_modernbert(mlp_bias=True)
    edit("tokenizer_config.json", **tokenizer)(folder)
    with pytest.raises(InputError, match=rf"{folder}/config.json: mlp_bias is True; only False is supported"):
        load_encoder(folder, device="cpu")


def test_weights_that_are_no_numbers_are_an_error(modernbert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(modernbert, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["layers.1.mlp.Wi.weight"][3, 4] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"model.safetensors: .*layers.1.mlp.Wi.weight"):
        load_encoder(folder, device="cpu")


def test_weights_that_sentence_transformers_would_run_are_checked_too(modernbert: Path, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = save_model(modernbert, tmp_path / "model", Pooling(64, "max"))
    assert isinstance(load_encoder(folder, device="cpu"), SentenceTransformerEncoder)
    change_tensors(folder / "model.safetensors", lambda tensors: tensors.pop("final_norm.weight"))
    with pytest.raises(InputError, match=r"the weights lack the tensor 'final_norm.weight', which config.json"):
        load_encoder(folder, device="cpu")


def test_a_text_without_a_token_gets_zeros(modernbert: Path, tmp_path: Path, texts: list[str]) -> None:
    folder = shutil.copytree(modernbert, tmp_path / "model")
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    encoder = load_encoder(folder, device="cpu", precision="fp32")
    assert isinstance(encoder, PackedEncoder)
    found = encoder.encode_documents(["dense", "", "query index"])
    assert found.any(axis=1).tolist() == [True, False, True]
    assert not encoder.encode_documents(["", ""]).any()


@pytest.mark.parametrize("budget", [1, 40, 100_000])
def test_an_embedding_does_not_depend_on_its_neighbours(
    budget: int, make_checkpoint: Make, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(make_checkpoint(), device="cpu", precision="fp32")
    alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
    monkeypatch.setattr(networks.Kind, "budget", lambda kind, device: budget)
    monkeypatch.setattr(dense, "TEXTS_PER_BLOCK", 7)
    np.testing.assert_allclose(encoder.encode_documents(texts), alone, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(texts[::-1])[::-1], alone, atol=1e-5)


def test_bf16_stays_close_to_fp32(make_checkpoint: Make, texts: list[str]) -> None:
    folder = make_checkpoint()
    exact = load_encoder(folder, device="cpu", precision="fp32").encode_documents(texts)
    rounded = load_encoder(folder, device="cpu", precision="bf16").encode_documents(texts)
    assert rounded.dtype == np.float32
    assert (exact * rounded).sum(axis=1).min() > 0.999


def test_all_minilm_equals_sentence_transformers() -> None:
    texts = [
        "Vitamin D deficiency",
        "0-dimensional biomaterials lack inductive properties.",
        "naïve Ünïcödé 漢字 " * 90,
    ]
    reference = SentenceTransformer(str(bundled_folder("all-MiniLM-L6-v2")), device="cpu").encode(texts)
    found = load_encoder("all-MiniLM-L6-v2", device="cpu", precision="fp32").encode_documents(texts)
    np.testing.assert_allclose(found, reference, atol=1e-5)


Change = Callable[[Path], object]


def edit(file: str, **changes: object) -> Change:
    """Return a change of a checkpoint's JSON file."""

    def apply(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def change_tensors(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def set_dtype(folder: Path, dtype: str) -> None:
    file = folder / "model.safetensors"
    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def rename_norms(folder: Path) -> None:
    file = folder / "model.safetensors"
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = load_file(file)
    for new, former in old.items():
        renamed = {name.replace(new, former): tensor for name, tensor in renamed.items()}
    save_file(renamed, file, metadata={"format": "pt"})


def rewrite_normalizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["normalizer"]["lowercase"] = False
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param({}, edit("config_sentence_transformers.json", truncate_dim=8), id="truncate_dim"),
        pytest.param({}, edit("config_sentence_transformers.json", truncate_dim=99), id="truncate_dim beyond width"),
        pytest.param({"dense": 32}, edit("2_Dense/config.json", use_residual=True), id="residual"),
        pytest.param({"dense": 16}, edit("2_Dense/config.json", module_output_name="other"), id="output name"),
        pytest.param({"max_length": 9}, edit("tokenizer_config.json", truncation_side="left"), id="truncation side"),
        pytest.param({}, rewrite_normalizer, id="normalizer"),
        pytest.param(
            {},
            edit("config_sentence_transformers.json", prompts={"web": "model "}, default_prompt_name="web"),
            id="default prompt",
        ),
        pytest.param(
            {}, edit("config_sentence_transformers.json", prompts={"passage": "model "}), id="passage prompt only"
        ),
        pytest.param({}, lambda folder: set_dtype(folder, "float16"), id="fp16 weights"),
        pytest.param({}, lambda folder: set_dtype(folder, "bfloat16"), id="bf16 weights"),
        pytest.param({}, rename_norms, id="gamma and beta"),
        pytest.param({}, edit("1_Pooling/config.json", include_prompt=False), id="prompt left out of pooling"),
    ],
)
def test_unusual_settings_are_followed_as_sentence_transformers_does(
    kind: dict, change: Change, make_checkpoint: Make, tmp_path: Path, texts: list[str]
) -> None:
    folder = shutil.copytree(make_checkpoint(**kind), tmp_path / "model")
    change(folder)
    mixed = [*texts, "Dense RETRIEVAL of a Query " * 8]
    encoder = load_encoder(folder, device="cpu", precision="fp32")
    reference = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    np.testing.assert_allclose(encoder.encode_queries(mixed), reference.encode_query(mixed), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(mixed), reference.encode_document(mixed), atol=1e-5)
    assert encoder.encode_queries(["a"]).shape == (1, encoder.dim)


def test_static_embeddings_load(tmp_path: Path, bare_bert: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(bare_bert / "tokenizer.json"))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").save(str(tmp_path))
    encoder = load_encoder(tmp_path, device="cpu", precision="fp32")
    reference = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(encoder.encode_documents(["dense"]), reference.encode_document(["dense"]), atol=1e-6)


def test_a_bundled_name_is_not_shadowed_by_a_folder_that_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modernir-mini-dense").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_encoder("modernir-mini-dense", device="cpu").dim == 256


def test_no_texts_give_no_rows_and_one_text_is_no_list(make_checkpoint: Make) -> None:
    encoder = load_encoder(make_checkpoint(), device="cpu")
    assert encoder.encode_queries([]).shape == (0, 32)
    with pytest.raises(TypeError, match="list of texts"):
        encoder.encode_queries("one text")


@pytest.mark.parametrize("kind", ["generator", "set", "dict"])
def test_what_is_no_list_is_refused_by_its_type(kind: str, make_checkpoint: Make) -> None:
    encoder = load_encoder(make_checkpoint(), device="cpu")
    given = {"generator": (text for text in ["a"]), "set": {"a"}, "dict": {"a": "b"}}[kind]
    for encode in (encoder.encode_queries, encoder.encode_documents):
        with pytest.raises(TypeError, match=f"expected a list of texts, found {kind}; make a list of it"):
            encode(given)
    np.testing.assert_array_equal(encoder.encode_queries(np.array(["a"])), encoder.encode_queries(("a",)))


@pytest.mark.parametrize("pooling", ["mean", "max"])  # by us, by sentence-transformers
def test_texts_that_are_cut_are_counted(pooling: str, make_checkpoint: Make) -> None:
    encoder = load_encoder(make_checkpoint(pooling=pooling, query_length=6, document_length=12), device="cpu")
    assert (encoder.query_length, encoder.document_length) == (6, 12)
    encoder.encode_queries(["token", "token " * 4, "token " * 5])
    encoder.encode_queries(["token " * 20])
    assert (encoder.truncated_queries, encoder.truncated) == (2, 0)
    encoder.encode_documents(["token", "token " * 10, "token " * 11])
    assert (encoder.truncated_queries, encoder.truncated) == (2, 1)


def test_a_precision_is_preferred_only_where_it_is_to_be_had(
    make_checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint()
    monkeypatch.setattr("modernir.encoders.precision.multiplies", lambda precision, device: precision != "fp16")
    for preferred, taken in (("fp32", "fp32"), ("bf16", "bf16"), ("int8", "bf16"), ("fp16", "bf16"), ("fp7", "bf16")):
        assert load_encoder(folder, device="cpu", preferred=preferred).precision == taken
    assert load_encoder(folder, device="cpu", precision="bf16", preferred="fp32").precision == "bf16"


def test_the_fingerprint_follows_the_model_not_its_place(make_checkpoint: Make, tmp_path: Path) -> None:
    folder = make_checkpoint()
    original = load_encoder(folder).fingerprint

    def changed(change: Callable[[Path], object]) -> str:
        copy = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        shutil.copytree(folder, copy)
        change(copy)
        return load_encoder(copy).fingerprint

    def flip_weight(copy: Path) -> None:
        file = copy / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)

    assert changed(lambda copy: (copy / "README.md").write_text("other")) == original
    assert changed(edit("config.json", transformers_version="0.0")) == original
    changes = [
        edit("config_sentence_transformers.json", prompts={"query": "q: "}),
        edit("tokenizer_config.json", model_max_length=12),
        edit("config.json", num_hidden_layers=1),
        edit("1_Pooling/config.json", pooling_mode="cls"),
        flip_weight,
    ]
    others = {changed(change) for change in changes}
    assert len(others) == len(changes)
    assert original not in others


def test_the_precision_chosen_by_itself_is_one_that_the_device_has() -> None:
    from modernir.encoders.precision import resolve_precision

    assert resolve_precision(None, torch.device("cpu")) in ("fp32", "bf16")
    assert resolve_precision(None, torch.device("meta")) == "fp32"


class TestRefusals:
    """Each names what was found and what to do."""

    def test_weights_that_are_pickles(self, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(InputError, match=r"pytorch_model.bin: pickled weights are not loaded"):
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

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda t: t["encoder.layer.1.output.dense.bias"].fill_(torch.nan), "holds weights that are NaN"),
            (lambda t: t["embeddings.word_embeddings.weight"].fill_(torch.inf), "holds weights that are NaN or inf"),
            (
                lambda t: t.update({"encoder.layer.0.output.dense.weight": torch.zeros(32, 60)}),
                r"'encoder.layer.0.output.dense.weight' has shape \(32, 60\), but config.json asks for \(32, 64\)",
            ),
            (
                lambda t: t.update({"embeddings.position_embeddings.weight": torch.zeros(60, 32)}),
                r"has shape \(60, 32\), but config.json asks for \(64, 32\)",
            ),
            (lambda t: t.update({"embeddings.LayerNorm.bias": torch.zeros(32).int()}), "is stored as torch.int32"),
        ],
    )
    def test_a_bert_with_something_wrong(
        self, change: Callable, said: str, make_checkpoint: Make, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        change_tensors(folder / "model.safetensors", change)
        with pytest.raises(InputError, match=f"{folder}/model.safetensors: .*{said}"):
            load_encoder(folder, device="cpu")

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"num_attention_heads": 5}, "hidden_size is 32; expected a multiple of num_attention_heads, which is 5"),
            ({"num_hidden_layers": "two"}, "num_hidden_layers is 'two'; expected a whole number"),
            ({"layer_norm_eps": None}, "layer_norm_eps is None; expected a number above 0"),
            ({"vocab_size": None}, "vocab_size is None; expected a whole number"),
        ],
        ids=str,
    )
    def test_a_bert_of_sizes_that_make_no_sense(
        self, fields: dict, said: str, make_checkpoint: Make, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        edit("config.json", **fields)(folder)
        with pytest.raises(InputError, match=f"{folder}/config.json: {said}"):
            load_encoder(folder, device="cpu")

    @pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
    @pytest.mark.parametrize("kind", ["bert", "modernbert", "gap"])
    def test_a_vocabulary_beyond_the_embeddings(
        self, kind: str, precision: str, bare_bert: Path, modernbert: Path, tmp_path: Path
    ) -> None:
        if kind == "bert" and precision == "int8":
            pytest.skip("int8 is for ModernBERT")
        folder = shutil.copytree(bare_bert if kind == "bert" else modernbert, tmp_path / "model")
        name = {"bert": "embeddings.word_embeddings.weight"}.get(kind, "embeddings.tok_embeddings.weight")
        tokens = max(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"].values()) + 1
        rows, said = tokens - 1, f"has token {tokens - 1}, but config.json has vocab_size {tokens - 1}"
        if kind == "gap":  # fewer tokens than rows, the last one numbered beyond them
            content = json.loads((folder / "tokenizer.json").read_text())
            content["model"]["vocab"]["dense"] = 500
            (folder / "tokenizer.json").write_text(json.dumps(content))
            rows, said = tokens + 10, f"has token 500, but config.json has vocab_size {tokens + 10}"
        width = load_file(folder / "model.safetensors")[name].shape[1]
        change_tensors(folder / "model.safetensors", lambda t: t.update({name: torch.zeros(rows, width)}))
        edit("config.json", vocab_size=rows)(folder)
        with pytest.raises(InputError, match=f"{folder}/tokenizer.json: {said}"):
            load_encoder(folder, device="cpu", precision=precision)

    @pytest.mark.parametrize(
        ("file", "content", "said"),
        [
            ("config.json", [], "expected a JSON object, found list"),
            ("tokenizer.json", [], "expected a JSON object, found list"),
            ("1_Pooling/config.json", "mean", "expected a JSON object, found str"),
            ("modules.json", {"a": 1}, "expected a list of modules, found dict"),
            ("modules.json", [{"idx": 0}], "expected modules with a 'type' and a 'path' that are texts, found {'idx'"),
            ("modules.json", [3], "expected modules with a 'type' and a 'path' that are texts, found 3"),
            ("config_sentence_transformers.json", {"prompts": ["query"]}, "prompts is .* from names to texts"),
            ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "prompts is .* from names to texts"),
            ("config_sentence_transformers.json", {"truncate_dim": "8"}, "truncate_dim is '8'; expected a whole"),
            ("sentence_bert_config.json", {"max_seq_length": "abc"}, "max_seq_length is 'abc'; expected a whole"),
            ("sentence_bert_config.json", {"max_seq_length": -5}, "max_seq_length is -5; expected a whole number"),
            ("sentence_bert_config.json", {"query_length": 0}, "query_length is 0; expected a whole number"),
            ("sentence_bert_config.json", {"document_length": 7.5}, "document_length is 7.5; expected a whole"),
            ("tokenizer_config.json", {"model_max_length": True}, "model_max_length is True; expected a whole"),
        ],
    )
    @pytest.mark.parametrize("pooling", ["mean", "max"])  # by us, by sentence-transformers
    def test_a_settings_file_of_the_wrong_kind(
        self, pooling: str, file: str, content: object, said: str, make_checkpoint: Make, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(make_checkpoint(pooling=pooling, max_length=None), tmp_path / "model")
        (folder / file).write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"{folder}/{file}: {said}"):
            load_encoder(folder, device="cpu")

    @pytest.mark.parametrize("length", [1, 2])
    def test_a_length_without_room_for_text(self, length: int, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        edit("sentence_bert_config.json", max_seq_length=length)(folder)
        with pytest.raises(InputError, match=f"{folder}: of a query, {length} tokens are read, which with 2 special"):
            load_encoder(folder, device="cpu")
        edit("sentence_bert_config.json", max_seq_length=3)(folder)
        encoder = load_encoder(folder, device="cpu")
        encoder.encode_documents(["token " * 50])
        assert encoder.truncated == 1

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
            load_encoder(folder, kind="dense")

    def test_a_module_class_that_comes_with_the_checkpoint(self, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        modules = json.loads((folder / "modules.json").read_text())
        modules[0]["type"] = "custom_st.Transformer"
        (folder / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(InputError, match="sentence-transformers cannot load it"):
            load_encoder(folder)

    def test_a_similarity_that_no_index_here_has(self, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(), tmp_path / "model")
        edit("config_sentence_transformers.json", similarity_fn_name="euclidean")(folder)
        with pytest.raises(InputError, match="by euclidean; an index here does so by cosine or dot"):
            load_encoder(folder)

    def test_a_projection_without_weights(self, make_checkpoint: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make_checkpoint(dense=16), tmp_path / "model")
        weights = folder / "2_Dense" / "model.safetensors"
        save_file({"other": torch.zeros(1)}, weights)
        with pytest.raises(InputError, match=r"2_Dense: the weights lack the tensor 'linear.weight'"):
            load_encoder(folder)
        weights.unlink()
        with pytest.raises(InputError, match=r"2_Dense: found neither model.safetensors nor"):
            load_encoder(folder)

    @pytest.mark.parametrize(
        ("change", "fields", "said"),
        [
            (lambda t: t["linear.weight"].fill_(torch.nan), {}, "safetensors: 'linear.weight' holds weights that are"),
            (lambda t: t["linear.bias"].fill_(torch.inf), {}, "safetensors: 'linear.bias' holds weights that are NaN"),
            (lambda t: t.pop("linear.bias"), {}, "lack the tensor 'linear.bias', which config.json asks for"),
            (
                lambda t: t.update({"linear.weight": torch.zeros(16, 30)}),
                {},
                r"'linear.weight' has shape \(16, 30\), but config.json asks for \(16, 32\)",
            ),
            (lambda t: None, {"out_features": 15}, r"'linear.weight' has shape \(16, 32\), but config.json asks for"),
            (
                lambda t: t.update({"linear.weight": torch.zeros(16, 30)}),
                {"in_features": 30},
                "config.json: in_features is 30; expected 32, the length of the embeddings before it",
            ),
            (lambda t: None, {"out_features": "many"}, "config.json: out_features is 'many'; expected a whole number"),
        ],
    )
    def test_a_projection_with_something_wrong(
        self, change: Callable, fields: dict, said: str, make_checkpoint: Make, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(make_checkpoint(dense=16), tmp_path / "model")
        change_tensors(folder / "2_Dense/model.safetensors", change)
        edit("2_Dense/config.json", **fields)(folder)
        with pytest.raises(InputError, match=f"{folder}/2_Dense.*{said}"):
            load_encoder(folder, device="cpu")

    def test_what_only_modernbert_has(self, make_checkpoint: Make, make_modernbert: Make) -> None:
        cpu = torch.device("cpu")
        with pytest.raises(InputError, match="int8 is for ModernBERT; choose fp32 or bf16"):
            load_packed(open_checkpoint(make_checkpoint()), cpu, "int8")
        with pytest.raises(InputError, match="attention back-ends are for ModernBERT; leave 'plain' out"):
            load_encoder(make_checkpoint(), device="cpu", attention="plain")
        with pytest.raises(InputError, match="not a ModernBERT that this package runs itself"):
            load_encoder(make_checkpoint(pooling="max"), device="cpu", attention="plain")
        bare = make_modernbert()
        with pytest.raises(InputError, match="unknown attention back-end 'quick'"):
            load_encoder(bare, device="cpu", attention="quick")
        with pytest.raises(
            InputError, match="int8 is not to be had, since it does not go with the attention back-end 'plain'"
        ):
            load_packed(open_checkpoint(bare), cpu, "int8", "plain")
        with pytest.raises(
            InputError, match="int8 is not to be had, since it needs heads whose width is a multiple of 32, found 16"
        ):
            load_packed(open_checkpoint(make_modernbert(num_attention_heads=4)), cpu, "int8")

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
