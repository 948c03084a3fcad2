"""The sizes are those of the paper, and a configuration takes its token numbers from the tokenizer."""

import json
from pathlib import Path

import pytest

from modernir.encoders.modernbert.presets import PRESETS, config_for
from modernir.encoders.modernbert.tokenizer import train_tokenizer
from modernir.errors import InputError

TEXTS = ["the cat sat on the mat", "def read_file(path): return open(path).read()"] * 20


def parameters(size: str) -> int:
    import torch
    from transformers import ModernBertModel

    with torch.device("meta"):
        return sum(weights.numel() for weights in ModernBertModel(config_for(size)).parameters())


@pytest.mark.parametrize(("size", "millions"), [("base", 149), ("large", 395)])
def test_the_papers_sizes_have_the_papers_parameters(size: str, millions: int) -> None:
    assert round(parameters(size) / 1e6) == millions


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_the_small_sizes_are_small(size: str) -> None:
    assert parameters(size) < 25e6


def test_attention_is_global_every_third_layer_with_the_papers_bases() -> None:
    config = config_for("base")
    assert config.layer_types[:4] == ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    assert config.rope_parameters["full_attention"]["rope_theta"] == 160_000
    assert config.rope_parameters["sliding_attention"]["rope_theta"] == 10_000
    assert (config.local_attention, config.max_position_embeddings) == (128, 8192)


def test_no_matrix_and_no_norm_has_a_bias() -> None:
    import torch
    from transformers import ModernBertModel

    with torch.device("meta"):
        names = [name for name, _ in ModernBertModel(config_for("tiny")).named_parameters()]
    assert not [name for name in names if name.endswith("bias")]


def test_token_numbers_and_vocabulary_are_the_tokenizers() -> None:
    tokenizer = train_tokenizer(TEXTS, 320)
    config = config_for("tiny", tokenizer)
    assert config.vocab_size == len(tokenizer)
    assert config.pad_token_id == tokenizer.convert_tokens_to_ids("[PAD]")
    assert (config.cls_token_id, config.sep_token_id) == tuple(tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"]))


def test_a_configuration_file_is_read_as_it_stands(tmp_path: Path) -> None:
    fields = config_for("mini").to_dict() | {"num_hidden_layers": 2, "layer_types": None}
    (tmp_path / "my.json").write_text(json.dumps(fields))
    config = config_for(tmp_path / "my.json")
    assert (config.num_hidden_layers, config.hidden_size) == (2, PRESETS["mini"].hidden)


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="no ModernBERT size 'huge'; expected tiny, mini, base, large or"):
        config_for("huge")


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"model_type": "bert"}', "found 'bert'"), ("[]", "found 'list'"), ("{", "not valid JSON")],
)
def test_a_file_that_is_no_modernbert_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(InputError, match=said):
        config_for(tmp_path / "other.json")


def test_a_value_of_the_wrong_type_is_refused_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text('{"model_type": "modernbert", "hidden_size": "wide"}')
    with pytest.raises(InputError, match=r"odd\.json: not a usable ModernBERT configuration"):
        config_for(tmp_path / "odd.json")


def test_a_tokenizer_larger_than_the_files_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps(config_for("tiny").to_dict() | {"vocab_size": 64}))
    with pytest.raises(InputError, match="vocab_size is 64, but the tokenizer has 320 tokens"):
        config_for(tmp_path / "small.json", train_tokenizer(TEXTS, 320))
