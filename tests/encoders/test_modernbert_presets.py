"""The sizes are those of the paper, and a configuration takes its token numbers from the tokenizer."""

import json
from pathlib import Path

import pytest

from modernir.encoders.modernbert.presets import PRESETS, config_for
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.errors import InputError

TEXTS = ["the cat sat on the mat", "def read_file(path): return open(path).read()"] * 20


def shapes(size: str, kind: str) -> dict[str, tuple[int, ...]]:
    """Return the parameters of our network of a size, or of transformers'."""
    import torch
    import transformers

    from modernir.encoders.modernbert import network

    config = config_for(size)
    with torch.device("meta"):
        if kind in ("ModernBert", "MaskedLanguageModel"):
            module = getattr(network, kind)(config)
        else:
            module = getattr(transformers, kind)(transformers.ModernBertConfig(**config.to_fields()))
    return {name: tuple(weights.shape) for name, weights in module.named_parameters()}


def total(size: str, kind: str) -> int:
    from math import prod

    return sum(map(prod, shapes(size, kind).values()))


@pytest.mark.parametrize(
    ("size", "encoder", "with_head"), [("base", 149_014_272, 149_655_232), ("large", 394_781_696, 395_881_664)]
)
def test_the_papers_sizes_have_the_papers_parameters(size: str, encoder: int, with_head: int) -> None:
    assert (total(size, "ModernBert"), total(size, "MaskedLanguageModel")) == (encoder, with_head)


@pytest.mark.parametrize("size", PRESETS)
def test_parameters_are_those_of_transformers_name_by_name(size: str) -> None:
    assert shapes(size, "ModernBert") == shapes(size, "ModernBertModel")
    assert shapes(size, "MaskedLanguageModel") == shapes(size, "ModernBertForMaskedLM")


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_the_small_sizes_are_small(size: str) -> None:
    assert total(size, "ModernBert") < 25e6


def test_attention_is_global_every_third_layer_with_the_papers_bases() -> None:
    config = config_for("base")
    assert config.global_layers[:4] == (True, False, False, True)
    assert (config.global_theta, config.local_theta) == (160_000, 10_000)
    assert (config.window, config.positions) == (64, 8192)


def test_nothing_but_the_decoder_has_a_bias() -> None:
    biases = [name for name in shapes("tiny", "MaskedLanguageModel") if name.endswith("bias")]
    assert biases == ["decoder.bias"]


def test_token_numbers_and_vocabulary_are_the_tokenizers() -> None:
    tokenizer = train_tokenizer(TEXTS, 320)
    config = config_for("tiny", tokenizer)
    assert config.vocabulary == len(tokenizer)
    assert config.pad_token_id == tokenizer.convert_tokens_to_ids("[PAD]")
    assert (config.cls_token_id, config.sep_token_id) == tuple(tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"]))


def test_a_configuration_file_is_read_as_it_stands(tmp_path: Path) -> None:
    fields = config_for("mini").to_fields() | {"num_hidden_layers": 2, "layer_types": None}
    (tmp_path / "my.json").write_text(json.dumps(fields))
    config = config_for(tmp_path / "my.json")
    assert (config.layers, config.width) == (2, PRESETS["mini"].width)


def test_a_file_that_names_no_tokens_takes_them_from_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "my.json").write_text('{"model_type": "modernbert", "vocab_size": 320}')
    assert config_for(tmp_path / "my.json").pad_token_id is None
    assert config_for(tmp_path / "my.json", train_tokenizer(TEXTS, 320)).pad_token_id == 3


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="no ModernBERT size 'huge'; expected tiny, mini, base, large or"):
        config_for("huge")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"model_type": "bert"}', "model_type is 'bert'; only 'modernbert'"),
        ("[]", "expected a JSON object"),
        ("{", "not valid JSON"),
        ('{"model_type": "modernbert", "hidden_size": "wide"}', "hidden_size is 'wide'"),
    ],
)
def test_a_file_that_is_no_modernbert_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(InputError, match=rf"other\.json: {said}"):
        config_for(tmp_path / "other.json")


def test_a_tokenizer_larger_than_the_files_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps(config_for("tiny").to_fields() | {"vocab_size": 64}))
    with pytest.raises(InputError, match="vocab_size is 64, but the tokenizer has 320 tokens"):
        config_for(tmp_path / "small.json", train_tokenizer(TEXTS, 320))
