"""Tokens to which nothing attends: they get transformers' states, and the others are as if those were not there."""

from pathlib import Path

import pytest
import torch

from modernir.encoders.checkpoint import open_checkpoint
from modernir.encoders.modernbert import cuda
from modernir.encoders.modernbert.config import ModernBertConfig
from modernir.encoders.modernbert.cuda import CudaNetwork
from modernir.encoders.modernbert.folder import read_network
from modernir.encoders.modernbert.fused import Regions
from modernir.encoders.modernbert.network import ModernBert
from modernir.encoders.networks import Network, find_kind
from modernir.encoders.stream import Stream
from modernir.encoders.transfers import send

CPU = torch.device("cpu")
LENGTHS, ATTENDED = (14, 20, 9, 14), (5, 6, 9, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ModernBERT whose windows are shorter than the distance of the last tokens from those that are attended to."""
    from transformers import ModernBertConfig as TheirConfig
    from transformers import ModernBertModel

    config = TheirConfig(
        **{"num_attention_heads": 2, "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96}
        | {"num_hidden_layers": 4, "local_attention": 16, "max_position_embeddings": 64, "initializer_range": 0.2}
        | {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("modernbert")
    ModernBertModel(config).save_pretrained(folder)
    return folder


def ids_of(length: int, seed: int) -> torch.Tensor:
    return torch.randint(1, 100, (length,), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def texts() -> list[torch.Tensor]:
    return [ids_of(length, seed) for seed, length in enumerate(LENGTHS)]


def stream_of(texts: list[torch.Tensor], attended: tuple[int, ...] | None = ATTENDED) -> Stream:
    return Stream.of_ids(torch.cat(texts), [len(ids) for ids in texts], CPU, attended)


@torch.no_grad()
def by_transformers(folder: Path, texts: list[torch.Tensor]) -> torch.Tensor:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    states = []
    for ids, seen in zip(texts, ATTENDED, strict=True):
        mask = (torch.arange(len(ids)) < seen).long()
        states.append(model(input_ids=ids[None], attention_mask=mask[None]).last_hidden_state[0])
    return torch.cat(states)


def network_of(folder: Path, attention: str | None) -> Network:
    checkpoint = open_checkpoint(folder)
    kind = find_kind(checkpoint.config)
    assert kind is not None
    return kind.load(checkpoint, CPU, "fp32", attention)


@pytest.mark.parametrize("attention", [None, "plain", "padded", "blockwise"])
def test_states_equal_transformers(attention: str | None, folder: Path, texts: list[torch.Tensor]) -> None:
    network = network_of(folder, attention)
    torch.testing.assert_close(network(stream_of(texts)), by_transformers(folder, texts), atol=2e-5, rtol=0)


def test_the_network_for_gpus_follows_too(
    folder: Path, texts: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Regions, "compiled", lambda regions: regions)
    monkeypatch.setattr(cuda, "installed", lambda name: True)
    network = CudaNetwork(read_network(folder), "fp32", CPU)
    asked = []
    network._graphs = lambda stream, bucket: asked.append(stream)  # a graph attends to every token
    torch.testing.assert_close(network(stream_of(texts)), by_transformers(folder, texts), atol=2e-5, rtol=0)
    assert not asked
    network(stream_of(texts, None))
    assert len(asked) == 1


def test_what_is_attended_to_is_as_if_alone(folder: Path, texts: list[torch.Tensor]) -> None:
    network = network_of(folder, "plain")
    states = network(stream_of(texts)).split(LENGTHS)
    for ids, found, seen in zip(texts, states, ATTENDED, strict=True):
        alone = network(stream_of([ids[:seen]], None))
        torch.testing.assert_close(found[:seen], alone, atol=1e-5, rtol=0)


def test_attending_to_all_is_a_plain_stream(folder: Path, texts: list[torch.Tensor]) -> None:
    network = network_of(folder, "padded")
    torch.testing.assert_close(network(stream_of(texts, LENGTHS)), network(stream_of(texts, None)), atol=1e-5, rtol=0)


def test_gradients_are_finite_where_a_token_sees_nothing(texts: list[torch.Tensor]) -> None:
    fields = {"vocab_size": 100, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 96}
    config = ModernBertConfig.from_fields(
        fields | {"model_type": "modernbert", "num_hidden_layers": 3, "local_attention": 4, "pad_token_id": 0}, "test"
    )
    network = ModernBert(config)
    network(stream_of(texts)).square().sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_a_stream_keeps_it_on_its_way(texts: list[torch.Tensor]) -> None:
    moved = send(stream_of(texts), torch.device("meta"))
    assert moved.attended == ATTENDED
    visible = stream_of(texts).visible
    assert visible.sum(1).tolist() == list(ATTENDED)
    assert bool(stream_of(texts, None).visible.eq(stream_of(texts, None).valid).all())
