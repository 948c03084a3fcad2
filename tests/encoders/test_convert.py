"""A ColBERT in another format has the same embeddings, here and in sentence-transformers, or is refused by name."""

import json
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
)

import modernir
from modernir import InputError, load_encoder
from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.colbert.packed import PackedColbert
from modernir.encoders.colbert.sentence_transformer import MultiVectorModelEncoder
from modernir.encoders.convert import TARGETS, convert
from modernir.encoders.formats import find_format
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.encoders.tokens import TokenMatrix

Make = Callable[..., Path]
ON_TOKENS = {"module_input_name": "token_embeddings"}
ST, PYLATE, STANFORD = "sentence-transformers", "pylate", "stanford"
DIM = 12
EXPANSIONS = {
    "not attended": {"strategy": "fixed", "attend": False, "length": 14},
    "attended": {"strategy": "fixed", "attend": True, "length": 14},
    "none": None,
}
PUNCTUATION = list(string.punctuation)
ROLES = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
MARKERS = {"query": "[Q] ", "document": "[D] "}


@pytest.fixture(scope="module")
def mixed(texts: list[str]) -> list[str]:
    return [*texts[:5], "token, query. what is it?!", "... , ! ?", "the [MASK] of index " * 30, " BLANKS  and Words"]


def word_pieces(texts: list[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer like BERT's: lower case, words in pieces, punctuation, and tokens that are not used."""
    letters = list(string.ascii_lowercase)
    words = sorted({word for text in texts for word in text.lower().split() if word.isalpha() and len(word) > 1})
    pieces = [*ROLES.values(), "[unused0]", "[unused1]", *PUNCTUATION, *letters, *(f"##{c}" for c in letters), *words]
    tokenizer = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    numbers = {role: (name, pieces.index(name)) for role, name in ROLES.items()}
    tokenizer.post_processor = processors.BertProcessing(numbers["sep_token"], numbers["cls_token"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48, **ROLES)


def bert(vocabulary: int) -> torch.nn.Module:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return BertModel(BertConfig(vocab_size=vocabulary, max_position_embeddings=64, initializer_range=0.3, **sizes))


def modernbert(vocabulary: int) -> torch.nn.Module:
    sizes = {"num_attention_heads": 2, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    roles = {f"{role}_token_id": token for role, token in {"pad": 3, "cls": 1, "bos": 1, "sep": 2, "eos": 2}.items()}
    spread = {"local_attention": 16, "max_position_embeddings": 64, "initializer_range": 0.2}
    return ModernBertModel(ModernBertConfig(vocab_size=vocabulary, **sizes, **roles, **spread))


def distilbert(vocabulary: int) -> torch.nn.Module:
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64}
    return DistilBertModel(DistilBertConfig(vocab_size=vocabulary, initializer_range=0.3, **sizes))


NETWORKS = {"bert": bert, "modernbert": modernbert, "distilbert": distilbert}


@pytest.fixture(scope="module")
def make(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that saves a ColBERT with sentence-transformers itself; the same settings give the same folder."""
    known: dict[str, Path] = {}

    def made(**settings: object) -> Path:
        if repr(settings) not in known:
            known[repr(settings)] = save(**settings)
        return known[repr(settings)]

    def save(
        network: str = "bert",
        expansion: dict | None = EXPANSIONS["not attended"],
        prompts: dict[str, str] = MARKERS,
        skiplist: tuple[str, ...] = tuple(PUNCTUATION),
        skiplist_tasks: tuple[str, ...] = ("document",),
        kept: list[int] | None = None,
        projections: tuple[dict, ...] = ({"bias": False, "activation_function": torch.nn.Identity()},),
        normalize: bool = True,
        pooling: bool = False,
        byte_level: bool = False,
        tokens: tuple[str, ...] = tuple(MARKERS.values()),
        similarity: str | None = None,
        default_prompt: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Path:
        tokenizer = train_tokenizer(texts, 384) if byte_level else word_pieces(texts)
        special = [AddedToken(token, special=True, normalized=False) for token in tokens]
        tokenizer.add_tokens(special, special_tokens=True)
        torch.manual_seed(6)
        model = NETWORKS[network](len(tokenizer))
        folder = tmp_path_factory.mktemp("made")
        model.save_pretrained(folder / "network")
        tokenizer.save_pretrained(folder / "network")
        reading = {"document_length": 30, "query_expansion": expansion}
        transformer = Transformer(str(folder / "network"), **reading, **({} if expansion else {"query_length": 11}))
        modules, width = [transformer], transformer.get_embedding_dimension()
        for settings in projections:
            modules.append(Dense(width, DIM, **settings, **ON_TOKENS))
            width = DIM
        modules.append(MultiVectorMask(list(skiplist), skiplist_tasks=list(skiplist_tasks), keep_only_token_ids=kept))
        modules += [Normalize(**ON_TOKENS)] if normalize else []
        modules += [HierarchicalTokenPooling(2)] if pooling else []
        named = {"prompts": prompts, "similarity_fn_name": similarity, "default_prompt_name": default_prompt}
        MultiVectorEncoder(modules=modules, device="cpu", **named).to(dtype).save_pretrained(str(folder / "model"))
        return folder / "model"

    return made


def embeddings(folder: Path, texts: list[str], packed: bool = True) -> tuple[TokenMatrix, TokenMatrix]:
    encoder = load_encoder(folder, device="cpu", precision="fp32", kind="late")
    assert isinstance(encoder, PackedColbert if packed else MultiVectorModelEncoder)
    return encoder.encode_queries(texts), encoder.encode_documents(texts)


def by_sentence_transformers(folder: Path, texts: list[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    model = MultiVectorEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    query = model.encode_query(texts, convert_to_numpy=True, show_progress_bar=False)
    return query, model.encode_document(texts, convert_to_numpy=True, show_progress_bar=False)


def assert_same(found: Iterator, expected: Iterator, tolerance: float = 0.0) -> None:
    for rows, others in zip(found, expected, strict=True):
        assert [len(one) for one in rows] == [len(other) for other in others]
        for one, other in zip(rows, others, strict=True):
            np.testing.assert_allclose(one, other, atol=tolerance, rtol=0)


def settings_of(folder: Path, name: str = "config_sentence_transformers.json") -> dict:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("expansion", EXPANSIONS)
@pytest.mark.parametrize("network", ["bert", "modernbert"])
def test_a_chain_through_all_formats_changes_no_embedding(
    network: str, expansion: str, make: Make, mixed: list[str], tmp_path: Path
) -> None:
    chain = [PYLATE, ST, STANFORD, PYLATE, STANFORD, ST] if expansion != "none" else [PYLATE, ST]
    folder = make(network=network, expansion=EXPANSIONS[expansion])
    original, reference = embeddings(folder, mixed), by_sentence_transformers(folder, mixed)
    assert_same(original, reference, 1e-5)
    for place, form in enumerate(chain):
        folder = convert(folder, tmp_path / f"{place}", form)
        assert find_format(open_checkpoint(folder)).name == TARGETS[form].name
        assert_same(embeddings(folder, mixed), original)
        if place < 3:  # the others are conversions of the same files
            assert_same(by_sentence_transformers(folder, mixed), reference, 1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"skiplist": ()},
        {"tokens": (*MARKERS.values(), "[E]"), "expansion": {"strategy": "fixed", "length": 14, "token": "[MASK]"}},
        {"dtype": torch.bfloat16},
        {"network": "distilbert"},
    ],
    ids=str,
)
def test_variations_pass_through_stanfords_format(settings: dict, make: Make, mixed: list[str], tmp_path: Path) -> None:
    folder = make(**settings)
    packed = "network" not in settings
    original = embeddings(folder, mixed, packed)
    stanford = convert(folder, tmp_path / "stanford", STANFORD)
    assert_same(embeddings(stanford, mixed, packed), original)
    again = convert(convert(stanford, tmp_path / "pylate", PYLATE), tmp_path / "again", ST)
    assert_same(embeddings(again, mixed, packed), original)
    weights, others = load_file(folder / "model.safetensors"), load_file(again / "model.safetensors")
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in weights.items()} == {
        name: (tensor.dtype, tensor.tolist()) for name, tensor in others.items()
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"skiplist": ("token", ".", "no token at all")},
        {"prompts": {"query": "", "document": "[D] "}},
        {"prompts": {**MARKERS, "passage": "a passage: "}},
        {"projections": ({"bias": True}, {"bias": False, "activation_function": torch.nn.Identity()})},
        {"projections": ({"bias": False, "activation_function": torch.nn.Identity(), "use_residual": True},)},
        {"byte_level": True, "network": "modernbert"},
        {"tokens": ("[Q]", "[D]")},
    ],
    ids=str,
)
def test_what_stanfords_format_lacks_passes_through_pylates(
    settings: dict, make: Make, mixed: list[str], tmp_path: Path
) -> None:
    folder = make(**settings)
    original = embeddings(folder, mixed)
    pylate = convert(folder, tmp_path / "pylate", PYLATE)
    assert_same(embeddings(pylate, mixed), original)
    assert_same(by_sentence_transformers(pylate, mixed), by_sentence_transformers(folder, mixed), 1e-5)
    assert_same(embeddings(convert(pylate, tmp_path / "again", ST), mixed), original)
    assert settings_of(tmp_path / "again")["prompts"].get("passage") == settings.get("prompts", {}).get("passage")


def contents(folder: Path) -> dict[str, object]:
    """Return what the files of a checkpoint say, less versions, the card and settings that transformers adds."""
    found: dict[str, object] = {}
    for file in sorted(folder.rglob("*.json")):
        content = json.loads(file.read_text())
        found[file.relative_to(folder).as_posix()] = content
    for file in folder.rglob("*.safetensors"):
        found[file.relative_to(folder).as_posix()] = {name: x.tolist() for name, x in load_file(file).items()}
    found["config_sentence_transformers.json"].pop("__version__")
    for name in ("transformers_version", "use_cache"):
        found["config.json"].pop(name, None)
    found.pop("tokenizer_config.json")
    return found


def test_the_files_are_those_that_sentence_transformers_saves(make: Make, tmp_path: Path) -> None:
    for name, settings in {"expanded": {}, "plain": {"expansion": None}}.items():
        pylate = convert(make(**settings), tmp_path / name / "pylate", PYLATE)
        model = MultiVectorEncoder(str(pylate), device="cpu", similarity_fn_name="maxsim")
        model.save_pretrained(str(tmp_path / name / "theirs"))
        ours = convert(pylate, tmp_path / name / "ours", ST)
        assert contents(ours) == contents(tmp_path / name / "theirs")


def test_the_files_are_those_that_pylate_saves(make: Make, tmp_path: Path) -> None:
    """Saved by PyLate 1.6.0: `ColBERT(...).save(...)`."""
    folder = convert(make(), tmp_path / "pylate", PYLATE)
    assert {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} == {
        *("1_Dense/config.json", "1_Dense/model.safetensors", "config.json", "config_sentence_transformers.json"),
        *("model.safetensors", "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json"),
    }
    assert settings_of(folder) == {
        "model_type": "ColBERT",
        "__version__": {"sentence_transformers": "5.3.0"},
        "prompts": {"query": "", "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 14,
        "document_length": 30,
        "attend_to_expansion_tokens": False,
        "skiplist_words": PUNCTUATION,
        "do_query_expansion": True,
    }
    modules = json.loads((folder / "modules.json").read_text())
    assert [module["type"] for module in modules] == [
        "sentence_transformers.models.Transformer",
        "pylate.models.Dense.Dense",
    ]
    assert settings_of(folder, "1_Dense/config.json") == {
        **{"in_features": 32, "out_features": DIM, "bias": False, "use_residual": False},
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    assert settings_of(folder, "sentence_bert_config.json") == {"max_seq_length": 30, "do_lower_case": False}


@torch.no_grad()
def by_stanford(folder: Path, texts: list[str], is_query: bool) -> list[np.ndarray]:
    """Encode texts one by one as Stanford's code does: a dot stands in for the marker while the text is tokenised."""
    own = settings_of(folder, "artifact.metadata")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    network = AutoModel.from_config(AutoModel.from_pretrained(folder).config).eval()
    prefix = f"{network.base_model_prefix}."
    states = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    network.load_state_dict(states)
    maximum, marker = ("query_maxlen", "query_token_id") if is_query else ("doc_maxlen", "doc_token_id")
    skipped = [tokenizer.convert_tokens_to_ids(mark) for mark in PUNCTUATION if own["mask_punctuation"]]
    skipped += [] if is_query else [tokenizer.pad_token_id]
    found = []
    for text in texts:
        fill = {"padding": "max_length" if is_query else False, "truncation": True, "return_tensors": "pt"}
        read = tokenizer(f". {text}", max_length=own[maximum], **fill)
        ids, mask = read["input_ids"], read["attention_mask"]
        ids[:, 1] = tokenizer.convert_tokens_to_ids(own[marker])
        if is_query:
            ids[ids == tokenizer.pad_token_id] = tokenizer.mask_token_id
            mask = torch.ones_like(mask) if own["attend_to_mask_tokens"] else mask
        rows = network(input_ids=ids, attention_mask=mask).last_hidden_state[0] @ weights["linear.weight"].T
        kept = [is_query or int(number) not in skipped for number in ids[0]]
        found.append(F.normalize(rows[kept], dim=-1).numpy())
    return found


@pytest.mark.parametrize("network", ["bert", "modernbert"])
@pytest.mark.parametrize("attended", [False, True])
def test_stanfords_code_gives_the_same(
    attended: bool, network: str, make: Make, mixed: list[str], tmp_path: Path
) -> None:
    made = make(network=network, expansion=EXPANSIONS["attended" if attended else "not attended"])
    folder = convert(made, tmp_path / "one", PYLATE)
    config = settings_of(folder, "tokenizer_config.json")
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": "[MASK]"}))  # as PyLate leaves it
    original = embeddings(folder, mixed)
    stanford = convert(folder, tmp_path / "stanford", STANFORD)
    assert settings_of(stanford, "config.json")["architectures"] == ["HF_ColBERT"]
    assert_same([by_stanford(stanford, mixed, True), by_stanford(stanford, mixed, False)], original, 1e-5)


def test_unused_tokens_of_stanfords_become_prefixes_of_pylate_and_prompts(
    make: Make, mixed: list[str], tmp_path: Path
) -> None:
    """[unused0] is in the vocabulary, not among the tokens that are looked for in texts."""
    folder = convert(make(), tmp_path / "one", STANFORD)
    metadata = settings_of(folder, "artifact.metadata")
    names = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]"}
    (folder / "artifact.metadata").write_text(json.dumps(metadata | names))
    original, reference = embeddings(folder, mixed), by_sentence_transformers(folder, mixed)
    assert_same(original, reference, 1e-5)
    pylate, model = convert(folder, tmp_path / "pylate", PYLATE), convert(folder, tmp_path / "st", ST)
    for converted in (pylate, model):
        assert_same(embeddings(converted, mixed), original)
        assert_same(by_sentence_transformers(converted, mixed), reference, 1e-5)
    assert settings_of(pylate)["query_prefix"] == "[unused0]"
    found = {token["content"]: token["id"] for token in settings_of(pylate, "tokenizer.json")["added_tokens"]}
    assert (found["[unused0]"], found["[unused1]"]) == (5, 6)
    assert settings_of(model)["prompts"] == {"query": "[unused0] ", "document": "[unused1] "}
    again = convert(model, tmp_path / "again", STANFORD)
    assert settings_of(again, "artifact.metadata")["query_token_id"] == "[unused0]"


def test_a_blank_that_bytes_keep_goes_to_stanfords_format_and_not_to_pylates(
    make: Make, mixed: list[str], tmp_path: Path
) -> None:
    folder = make(network="modernbert", byte_level=True, tokens=("[Q]", "[D]"))
    original = embeddings(folder, mixed)
    stanford = convert(folder, tmp_path / "stanford", STANFORD)
    assert_same(embeddings(stanford, mixed), original)
    assert_same([by_stanford(stanford, mixed, True), by_stanford(stanford, mixed, False)], original, 1e-5)
    assert_same(by_sentence_transformers(stanford, mixed), original, 1e-5)
    for source in (folder, stanford):
        with pytest.raises(InputError, match=r"the tokenizer makes other tokens .* format pylate"):
            convert(source, tmp_path / "pylate", PYLATE)
    assert_same(embeddings(convert(stanford, tmp_path / "again", ST), mixed), original)


def test_a_word_as_prompt_becomes_a_marker_with_the_words_embedding(
    make: Make, mixed: list[str], tmp_path: Path
) -> None:
    folder = make(prompts={"query": "query ", "document": "document "}, tokens=())
    original = embeddings(folder, mixed)
    size = settings_of(folder, "config.json")["vocab_size"]
    for form in (PYLATE, STANFORD):
        converted = convert(folder, tmp_path / form, form)
        assert_same(embeddings(converted, mixed), original)
        assert settings_of(converted, "config.json")["vocab_size"] == size + 2
    table = load_file(tmp_path / PYLATE / "model.safetensors")["embeddings.word_embeddings.weight"]
    tokenizer = Tokenizer.from_file(str(tmp_path / PYLATE / "tokenizer.json"))
    assert (tokenizer.token_to_id("[Q] "), tokenizer.token_to_id("[D] ")) == (size, size + 1)
    assert torch.equal(table[size], table[tokenizer.token_to_id("query")])
    again = convert(tmp_path / PYLATE, tmp_path / "again", ST)
    assert_same(by_sentence_transformers(again, mixed), by_sentence_transformers(folder, mixed), 1e-5)


def test_one_marker_may_be_a_word_and_the_other_a_token(make: Make, mixed: list[str], tmp_path: Path) -> None:
    folder = make(prompts={"query": "[Q] ", "document": "document "}, tokens=("[Q] ",))
    size = settings_of(folder, "config.json")["vocab_size"]
    pylate = convert(folder, tmp_path / "pylate", PYLATE)
    assert_same(embeddings(pylate, mixed), embeddings(folder, mixed))
    assert settings_of(pylate, "config.json")["vocab_size"] == size + 1


def leave_a_number_out(folder: Path) -> None:
    """Count the last words up by one, in the tokenizer and the embedding table."""
    saved = settings_of(folder, "tokenizer.json")
    vocabulary = saved["model"]["vocab"]
    last = sorted(vocabulary, key=vocabulary.get)[-4:]
    vocabulary |= {word: vocabulary[word] + 1 for word in last}
    (folder / "tokenizer.json").write_text(json.dumps(saved))
    weights, name = load_file(folder / "model.safetensors"), "embeddings.word_embeddings.weight"
    before = vocabulary[last[0]] - 1
    weights[name] = torch.cat([weights[name][: before + 1], weights[name][before:]])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = settings_of(folder, "config.json")
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": len(weights[name])}))


def test_a_marker_takes_no_number_of_another_token(make: Make, tmp_path: Path) -> None:
    """A tokenizer numbers a token that is added by the count of tokens, whatever its file says."""
    made = make(prompts={"query": "query ", "document": "document "}, tokens=())
    folder = shutil.copytree(made, tmp_path / "gap")
    leave_a_number_out(folder)
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    last, count = max(vocabulary, key=vocabulary.get), len(vocabulary)
    assert vocabulary[last] == count
    assert_same(embeddings(folder, ["token " + last]), embeddings(made, ["token " + last]))
    with pytest.raises(
        InputError,
        match=rf"would have '\[Q\] ' as {count}, the number of '{last}', not as {count + 1}; choose a format",
    ):
        convert(folder, tmp_path / "target", STANFORD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gap"]


def test_shards_are_copied_as_they_are(make: Make, mixed: list[str], tmp_path: Path) -> None:
    folder = shutil.copytree(make(), tmp_path / "sharded")
    network = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    converted = convert(folder, tmp_path / "pylate", PYLATE)
    for file in [*shards, folder / "model.safetensors.index.json"]:
        assert (converted / file.name).read_bytes() == file.read_bytes()
    assert_same(embeddings(converted, mixed), embeddings(folder, mixed))
    assert_same(embeddings(convert(folder, tmp_path / "stanford", STANFORD), mixed), embeddings(folder, mixed))


def test_a_network_in_a_folder_of_its_own_goes_to_the_top(make: Make, mixed: list[str], tmp_path: Path) -> None:
    folder = shutil.copytree(make(), tmp_path / "nested")
    (folder / "0_Transformer").mkdir()
    modules = settings_of(folder, "modules.json")
    modules[0]["path"] = "0_Transformer"
    for name in ("config.json", "model.safetensors", "sentence_bert_config.json", "tokenizer.json"):
        (folder / name).rename(folder / "0_Transformer" / name)
    (folder / "tokenizer_config.json").rename(folder / "0_Transformer" / "tokenizer_config.json")
    (folder / "modules.json").write_text(json.dumps(modules))
    pylate = convert(folder, tmp_path / "pylate", PYLATE)
    assert sorted(path.name for path in pylate.iterdir() if path.is_dir()) == ["1_Dense"]
    assert_same(embeddings(pylate, mixed), embeddings(make(), mixed))


IDENTITY = {"bias": False, "activation_function": torch.nn.Identity()}
ONLY_ST, NOT_STANFORD = "sentence-transformers can", "sentence-transformers and pylate can"


@pytest.mark.parametrize(
    ("settings", "form", "said"),
    [
        ({"expansion": {"strategy": "min", "length": 8}}, PYLATE, rf"query_expansion of strategy 'min'.*{ONLY_ST}"),
        ({"expansion": {"strategy": "min", "length": 8}}, STANFORD, rf"query_expansion of strategy 'min'.*{ONLY_ST}"),
        ({"expansion": None}, STANFORD, rf"queries that are not expanded.*{NOT_STANFORD}"),
        (
            {"expansion": {"strategy": "fixed", "length": 14, "token": "token"}},
            PYLATE,
            rf"query_expansion with the token 'token'.*{ONLY_ST}",
        ),
        ({"prompts": {**MARKERS, "query": "[Q] find "}}, PYLATE, rf"the query prompt '\[Q\] find '.*{ONLY_ST}"),
        ({"prompts": {**MARKERS, "document": "text: "}}, STANFORD, rf"the document prompt 'text: '.*{ONLY_ST}"),
        ({"prompts": {**MARKERS, "document": ""}}, STANFORD, rf"no document marker.*{NOT_STANFORD}"),
        ({"prompts": {**MARKERS, "title": "a "}}, STANFORD, rf"a prompt named 'title'.*{NOT_STANFORD}"),
        ({"skiplist": (".",)}, STANFORD, rf"a skiplist of its own.*{NOT_STANFORD}"),
        ({"skiplist_tasks": ("query", "document")}, PYLATE, rf"skiplist_tasks \['query', 'document'\].*{ONLY_ST}"),
        ({"kept": [2, 3, 40]}, PYLATE, rf"keep_only_token_ids.*{ONLY_ST}"),
        ({"normalize": False}, STANFORD, rf"token vectors that are not normalised.*{ONLY_ST}"),
        ({"projections": ()}, PYLATE, rf"no projection.*{ONLY_ST}"),
        ({"projections": (IDENTITY, IDENTITY)}, STANFORD, rf"2 projections.*{NOT_STANFORD}"),
        ({"projections": ({**IDENTITY, "bias": True},)}, STANFORD, rf"a projection with a bias.*{NOT_STANFORD}"),
        (
            {"projections": ({**IDENTITY, "activation_function": torch.nn.Tanh()},)},
            STANFORD,
            rf"a projection with activation_function torch.*Tanh.*{NOT_STANFORD}",
        ),
        ({"projections": ({**IDENTITY, "use_residual": True},)}, STANFORD, rf"use_residual.*{NOT_STANFORD}"),
        ({"pooling": True}, PYLATE, r"token pooling of factor 2.*only its own format can"),
        ({"similarity": "meanmaxsim"}, PYLATE, rf"similarity_fn_name 'meanmaxsim'.*{ONLY_ST}"),
        ({"default_prompt": "query"}, PYLATE, r"default_prompt_name 'query'.*only its own format can"),
        (
            {"byte_level": True, "network": "modernbert"},
            STANFORD,
            "the tokenizer makes other tokens of the query marker and the text after it .* format stanford",
        ),
    ],
    ids=str,
)
def test_what_a_format_cannot_hold_is_refused_by_name(
    settings: dict, form: str, said: str, make: Make, tmp_path: Path
) -> None:
    folder = make(**settings)
    with pytest.raises(InputError, match=said) as raised:
        convert(folder, tmp_path / "target", form)
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_the_checkpoint_has_is_a_copy(make: Make, tmp_path: Path) -> None:
    folder = make(pooling=True, kept=[2, 3, 40])
    copied = convert(folder, tmp_path / "copy", ST)
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    assert files
    assert all((copied / file).read_bytes() == (folder / file).read_bytes() for file in files)


class TestWhatIsNoSourceOrTarget:
    """One line, and nothing is written."""

    def test_a_dense_checkpoint(self, make_checkpoint: Make, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a dense .single-vector. checkpoint; formats are those of multi-vector"):
            convert(make_checkpoint(), tmp_path / "target", ST)
        assert list(tmp_path.iterdir()) == []

    def test_a_target_that_holds_something(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir()
        (tmp_path / "target/note.txt").write_text("mine")
        folder = make()
        for target in (tmp_path / "target", tmp_path / "target/note.txt"):
            with pytest.raises(InputError, match="exists already"):
                convert(folder, target, PYLATE)
        assert (tmp_path / "target/note.txt").read_text() == "mine"

    def test_an_empty_target_is_filled(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir()
        assert (convert(make(), tmp_path / "target", PYLATE) / "modules.json").is_file()
        assert [file.name for file in tmp_path.iterdir()] == ["target"]

    def test_the_current_folder_is_filled(
        self, call: Callable[..., SimpleNamespace], make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "target").mkdir()
        monkeypatch.chdir(tmp_path / "target")
        done = call("convert", make(), ".", "--format", "pylate")
        assert (done.code, done.stdout) == (0, ".\n")
        assert Path("modules.json").is_file()
        assert [file.name for file in tmp_path.iterdir()] == ["target"]

    def test_a_target_that_is_a_link_to_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        with pytest.raises(InputError, match=r"link: a link to .*gone, which is not there; remove it or name another"):
            convert(tmp_path / "not looked at yet", tmp_path / "link", ST)
        assert [file.name for file in tmp_path.iterdir()] == ["link"]

    def test_a_target_within_the_source(self, make: Make) -> None:
        folder = make()
        with pytest.raises(InputError, match="lies within the checkpoint"):
            convert(folder, folder / "copy", ST)

    def test_an_unknown_format(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="unknown format 'onnx'; expected one of sentence-transformers, pylate"):
            convert(make(), tmp_path / "target", "onnx")

    def test_a_slow_tokenizer(self, make: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make(), tmp_path / "slow")
        (folder / "tokenizer.json").unlink()
        with pytest.raises(InputError, match=r"has no tokenizer.json, only a tokenizer that is no fast one"):
            convert(folder, tmp_path / "target", PYLATE)

    def test_damaged_weights(self, make: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make(), tmp_path / "damaged")
        (folder / "model.safetensors").write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match=r"model.safetensors: damaged or not a safetensors file"):
            convert(folder, tmp_path / "target", PYLATE)
        assert [file.name for file in tmp_path.iterdir()] == ["damaged"]

    def test_a_projection_without_its_matrix(self, make: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make(), tmp_path / "damaged")
        save_file({"other": torch.ones(2)}, folder / "1_Dense/model.safetensors")
        for form in (PYLATE, STANFORD):
            with pytest.raises(InputError, match=r"1_Dense: the weights lack the matrix 'linear.weight'"):
                convert(folder, tmp_path / "target", form)

    def test_an_architecture_that_transformers_does_not_have(self, make: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make(), tmp_path / "own")
        config = settings_of(folder, "config.json")
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "homemade"}))
        with pytest.raises(InputError, match=r"model_type is 'homemade', none of transformers' own"):
            convert(folder, tmp_path / "target", STANFORD)
        assert (convert(folder, tmp_path / "pylate", PYLATE) / "config.json").is_file()

    def test_a_table_that_is_not_known(self, make: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make(prompts={"query": "query ", "document": ""}, tokens=()), tmp_path / "own")
        weights = load_file(folder / "model.safetensors")
        weights["embeddings.table"] = weights.pop("embeddings.word_embeddings.weight")
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match=r"expected one embedding table .* '\[Q\] ' is added; found none"):
            convert(folder, tmp_path / "target", PYLATE)

    def test_a_tokenizer_that_leaves_numbers_out(self, make: Make, tmp_path: Path) -> None:
        folder = shutil.copytree(make(), tmp_path / "gap")
        saved = settings_of(folder, "tokenizer.json")
        saved["model"]["vocab"].pop("token")
        (folder / "tokenizer.json").write_text(json.dumps(saved))
        with pytest.raises(InputError, match="a tokenizer that leaves numbers out, which the format pylate cannot"):
            convert(folder, tmp_path / "target", PYLATE)


def test_the_command_prints_the_folder(
    call: Callable[..., SimpleNamespace], make: Make, mixed: list[str], tmp_path: Path
) -> None:
    folder = make()
    done = call("convert", folder, tmp_path / "target", "--format", "pylate")
    assert (done.code, done.stdout) == (0, f"{tmp_path / 'target'}\n")
    assert_same(embeddings(tmp_path / "target", mixed), embeddings(folder, mixed))
    again = call("convert", folder, tmp_path / "target", "--format", "pylate")
    assert (again.code, again.stderr) == (
        2,
        f"error: {tmp_path / 'target'}: exists already; name a folder that does not, or an empty one\n",
    )
    assert call("convert", folder, tmp_path / "other", "--format", "onnx").code == 2


def test_it_is_a_public_name() -> None:
    assert modernir.convert is convert
    assert "convert" in modernir.__all__
