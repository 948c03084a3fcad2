"""A configuration means here what transformers makes of it, in every spelling, and what does not run is refused."""

import dataclasses
import json
import subprocess
import sys

import pytest

from modernir.encoders.modernbert.config import ModernBertConfig, one_global_in
from modernir.errors import InputError

# answerdotai/ModernBERT-base, as published with transformers 4.48
PUBLISHED = {
    "architectures": ["ModernBertForMaskedLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 50281,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "mean",
    "cls_token_id": 50281,
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "eos_token_id": 50282,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "gradient_checkpointing": False,
    "hidden_activation": "gelu",
    "hidden_size": 768,
    "initializer_cutoff_factor": 2.0,
    "initializer_range": 0.02,
    "intermediate_size": 1152,
    "layer_norm_eps": 1e-05,
    "local_attention": 128,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-05,
    "num_attention_heads": 12,
    "num_hidden_layers": 22,
    "pad_token_id": 50283,
    "position_embedding_type": "absolute",
    "sep_token_id": 50282,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "transformers_version": "4.47.0.dev0",
    "vocab_size": 50368,
}
ODD = ModernBertConfig(
    vocabulary=320,
    width=96,
    intermediate=100,
    layers=5,
    heads=3,
    global_layers=(False, True, True, False, True),
    positions=100,
    window=7,
    global_theta=500.0,
    local_theta=20.0,
    eps=1e-6,
    mlp_dropout=0.25,
    embedding_dropout=0.1,
    attention_dropout=0.2,
    initializer_range=0.5,
    initializer_cutoff=3.0,
    decoder_bias=False,
    tied=False,
    pad_token_id=None,
    sep_token_id=7,
)
SPELLINGS = {
    "published": PUBLISHED,
    "nothing but the type": {"model_type": "modernbert"},
    "another pattern": PUBLISHED | {"global_attn_every_n_layers": 2, "global_rope_theta": 80000, "local_attention": 63},
    "layer types": PUBLISHED | {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]},
    "layer types of null": PUBLISHED | {"layer_types": None, "rope_parameters": None, "rope_scaling": None},
    "rope parameters": {
        "model_type": "modernbert",
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 5e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 123.0},
        },
    },
    "rope parameters over thetas": PUBLISHED | {"rope_parameters": {"full_attention": {"rope_theta": 7.0}}},
    "rope parameters without a base": PUBLISHED
    | {"rope_parameters": {"sliding_attention": {"rope_type": "default"}}, "local_rope_theta": 9.0},
    "rope scaling that scales nothing": PUBLISHED | {"rope_scaling": {"rope_type": "default"}},
    "half the window": PUBLISHED | {"sliding_window": 5},
    "ours": ODD.to_fields(),
}


def resolved_by_transformers(fields: dict) -> ModernBertConfig:
    from transformers import ModernBertConfig as Reference

    config = Reference.from_dict(json.loads(json.dumps(fields)))
    return ModernBertConfig(
        vocabulary=config.vocab_size,
        width=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        global_layers=tuple(kind == "full_attention" for kind in config.layer_types),
        positions=config.max_position_embeddings,
        window=config.sliding_window,
        global_theta=config.rope_parameters["full_attention"]["rope_theta"],
        local_theta=config.rope_parameters["sliding_attention"]["rope_theta"],
        eps=config.norm_eps,
        embedding_dropout=config.embedding_dropout,
        attention_dropout=config.attention_dropout,
        mlp_dropout=config.mlp_dropout,
        initializer_range=config.initializer_range,
        initializer_cutoff=config.initializer_cutoff_factor,
        decoder_bias=config.decoder_bias,
        tied=config.tie_word_embeddings,
        pad_token_id=config.pad_token_id,
        cls_token_id=config.cls_token_id,
        sep_token_id=config.sep_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
    )


@pytest.mark.parametrize("fields", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_means_what_transformers_makes_of_it(fields: dict) -> None:
    assert ModernBertConfig.from_fields(fields, "config.json") == resolved_by_transformers(fields)


def test_what_transformers_writes_is_read_and_what_we_write_transformers_reads() -> None:
    from transformers import ModernBertConfig as Reference

    written = Reference(**ODD.to_fields()).to_dict()
    assert ModernBertConfig.from_fields(written, "config.json") == ODD
    assert ModernBertConfig.from_fields(json.loads(json.dumps(ODD.to_fields())), "config.json") == ODD


def test_the_fields_of_older_releases_are_written_as_they_were_published() -> None:
    fields = ModernBertConfig.from_fields(PUBLISHED, "config.json").to_fields()
    without = {"architectures", "torch_dtype", "transformers_version", "layer_norm_eps", "position_embedding_type"}
    without |= {"classifier_dropout", "classifier_pooling", "deterministic_flash_attn", "gradient_checkpointing"}
    assert {name: fields[name] for name in PUBLISHED.keys() - without} == {
        name: PUBLISHED[name] for name in PUBLISHED.keys() - without
    }


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_pattern_of_global_layers_is_written_for_older_releases(every: int) -> None:
    config = dataclasses.replace(ODD, layers=7, global_layers=one_global_in(every, 7))
    fields = config.to_fields()
    assert one_global_in(fields["global_attn_every_n_layers"], 7) == config.global_layers
    fields = {name: value for name, value in fields.items() if name not in ("layer_types", "rope_parameters")}
    assert ModernBertConfig.from_fields(fields, "config.json") == config


def test_no_pattern_is_written_where_there_is_none() -> None:
    assert "global_attn_every_n_layers" not in ODD.to_fields()


def test_local_layers_without_a_base_take_the_global_one() -> None:
    config = ModernBertConfig.from_fields(PUBLISHED | {"local_rope_theta": None}, "config.json")
    assert config.local_theta == config.global_theta == 160_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; only 'modernbert' is supported"),
        ({"model_type": None}, "model_type is None; only 'modernbert' is supported"),
        ({"hidden_activation": "relu"}, "hidden_activation is 'relu'; only 'gelu' is supported"),
        ({"classifier_activation": "silu"}, "classifier_activation is 'silu'; only 'gelu'"),
        ({"norm_bias": True}, "norm_bias is True; only False is supported"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"classifier_bias": 1}, "classifier_bias is 1"),
        ({"hidden_size": 770}, "hidden_size is 770; expected a multiple of num_attention_heads, which is 12"),
        ({"hidden_size": 12 * 63}, "hidden_size is 756; expected an even number for each of 12 heads"),
        ({"head_dim": 32}, r"head_dim is 32; expected hidden_size / num_attention_heads = 64"),
        ({"hidden_size": "wide"}, "hidden_size is 'wide'; expected a whole number of at least 1"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"hidden_size": 768.0}, "hidden_size is 768.0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
        ({"vocab_size": -5}, "vocab_size is -5"),
        ({"intermediate_size": [1]}, r"intermediate_size is \[1\]"),
        ({"max_position_embeddings": "8192"}, "max_position_embeddings is '8192'"),
        ({"local_attention": 1}, "local_attention is 1; expected at least 2"),
        ({"local_attention": -128}, "local_attention is -128"),
        ({"sliding_window": 0}, "sliding_window is 0"),
        ({"norm_eps": 0}, "norm_eps is 0; expected a number above 0"),
        ({"norm_eps": float("nan")}, "norm_eps is nan"),
        ({"initializer_range": "small"}, "initializer_range is 'small'"),
        ({"mlp_dropout": 1.0}, "mlp_dropout is 1.0; expected a number from 0 to below 1"),
        ({"attention_dropout": None}, "attention_dropout is None"),
        ({"decoder_bias": "yes"}, "decoder_bias is 'yes'; expected true or false"),
        ({"pad_token_id": 50368}, "pad_token_id is 50368; expected a token below vocab_size, which is 50368"),
        ({"cls_token_id": -1}, "cls_token_id is -1; expected the number of a token or null"),
        ({"eos_token_id": [1, 2]}, r"eos_token_id is \[1, 2\]"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers is 0"),
        ({"layer_types": ["full_attention"]}, "layer_types is .*; expected a list of num_hidden_layers = 22 kinds"),
        ({"layer_types": "full_attention"}, "layer_types is 'full_attention'"),
        ({"layer_types": ["mamba"] * 22}, "layer_types has 'mamba'; only 'full_attention' and 'sliding_attention' are"),
        ({"layer_types": [[]] * 22}, r"layer_types has \[\]"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "rope_scaling is .*'yarn'.*; only rope_type 'default'",
        ),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling is .*'linear'"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "linear"}}},
            "rope_parameters.full_attention is .*'linear'",
        ),
        ({"rope_parameters": {"sliding_attention": 7}}, "rope_parameters.sliding_attention is 7"),
        ({"rope_parameters": {"rope_theta": 7.0}}, "rope_parameters is .*; expected an entry for each of 'full_att"),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": -1}}},
            "rope_parameters.full_attention.rope_theta is -1; expected a number above 0",
        ),
        ({"global_rope_theta": None}, "global_rope_theta is None"),
    ],
)
def test_what_does_not_run_is_refused_in_one_line_with_field_and_value(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=f"^folder/config.json: {said}") as caught:
        ModernBertConfig.from_fields(PUBLISHED | changes, "folder/config.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fields", [[], None, "modernbert"])
def test_json_that_is_no_object_is_refused(fields: object) -> None:
    with pytest.raises(InputError, match=r"^config\.json: expected a JSON object"):
        ModernBertConfig.from_fields(fields, "config.json")


def test_the_network_and_its_folders_need_no_transformers() -> None:
    code = "import sys, modernir.encoders.modernbert.folder; print('transformers' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
