"""Low-rank adapters beside a network's matrices, through peft: trained in their stead, then merged into them.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen, "LoRA: Low-Rank Adaptation of Large Language Models" (2021), arXiv
2106.09685: a matrix W acts as W + (alpha / rank) · B·A, W fixed, A drawn, B zero at first. What follows the network,
such as a ColBERT's projection, is trained as it is. A checkpoint holds the plain network and the adapters beside it.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ...errors import InputError
from .steering_settings import SteeringSettings

FOLDER = "adapter"
TENSORS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""How peft names what its own wrapper of a network holds."""
NAME = "default"
TARGETS: dict[str, tuple[str, ...]] = {"modernbert": ("Wqkv", "Wo", "Wi")}
"""Matrices of attention and MLP by the type of the network; others get an adapter for each of their matrices."""


def adapt(model: nn.Module, settings: SteeringSettings) -> None:
    """Give the networks of a model adapters, and fix their own weights; the model is changed in place.

    Args:
        model: Of sentence-transformers.
        settings: Say of what rank, and for which matrices.

    Raises:
        InputError: peft is not installed, the model has no network of transformers, or one lacks a module of a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InputError("lora_rank: adapters need peft; install it with: pip install 'modernir[lora]'") from error
    networks = _networks(model)
    if not networks:
        raise InputError("lora_rank: the model has no network of transformers to adapt")
    rank = settings.lora_rank or 0
    for network in networks:
        _check_targets(network, settings.lora_targets or ())
        targets = settings.lora_targets or TARGETS.get(network.config.model_type)
        config = LoraConfig(
            r=rank,
            lora_alpha=settings.lora_alpha or 2 * rank,
            lora_dropout=settings.lora_dropout,
            target_modules=list(targets) if targets else "all-linear",
            base_model_name_or_path=getattr(settings, "model", None),
        )
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name of old
            torch.manual_seed(getattr(settings, "seed", 0))
            inject_adapter_in_model(config, network, adapter_name=NAME)


def _check_targets(network: nn.Module, targets: Sequence[str]) -> None:
    """Refuse a name that peft would find no matrix for: it says nothing of it where another name fits."""
    matrices = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    wrong = [one for one in targets if not any(name == one or name.endswith(f".{one}") for name in matrices)]
    if wrong:
        there = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in matrices}))
        raise InputError(f"lora_targets: no matrix of the network is called {', '.join(wrong)}; it has {there}")


def has_adapters(model: nn.Module) -> bool:
    """Say whether `adapt` gave a model adapters that are not merged yet."""
    return any(hasattr(network, "peft_config") for network in _networks(model))


def save_adapters(model: nn.Module, folder: Path) -> None:
    """Write each adapter as peft does into `folder`/adapter, and of two towers the second into `folder`/adapter_1."""
    from peft import get_peft_model_state_dict

    for network, place in zip(_networks(model), _places(model, folder), strict=True):
        place.mkdir(parents=True, exist_ok=True)
        network.peft_config[NAME].save_pretrained(str(place))
        # "auto", the default, would look the model up on the hub
        tensors = get_peft_model_state_dict(network, adapter_name=NAME, save_embedding_layers=False)
        named = {f"{PREFIX}{name}": tensor.contiguous().cpu() for name, tensor in tensors.items()}
        save_file(named, place / TENSORS, metadata={"format": "pt"})


def load_adapters(model: nn.Module, folder: Path) -> None:
    """Take the weights of the adapters, which the model has, from where `save_adapters` wrote them."""
    from peft import set_peft_model_state_dict

    for network, place in zip(_networks(model), _places(model, folder), strict=True):
        tensors = load_file(place / TENSORS)
        named = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
        set_peft_model_state_dict(network, named, adapter_name=NAME)


def merge(model: nn.Module) -> None:
    """Add the adapters to the matrices beside which they are, and take them away."""
    for parent, name, layer in _adapted(model):
        layer.merge(safe_merge=True)
        setattr(parent, name, layer.get_base_layer())
    for network in _networks(model):
        del network.peft_config


@contextmanager
def taken_away(model: nn.Module) -> Iterator[None]:
    """Let the model be what it is without adapters within the block, with the names that its own weights have."""
    adapted = _adapted(model)
    for parent, name, layer in adapted:
        setattr(parent, name, layer.get_base_layer())
    try:
        yield
    finally:
        for parent, name, layer in adapted:
            setattr(parent, name, layer)


def _networks(model: nn.Module) -> list[Any]:
    from sentence_transformers.base.modules import Transformer

    return [module.auto_model for module in model.modules() if isinstance(module, Transformer)]


def _places(model: nn.Module, folder: Path) -> list[Path]:
    return [folder / (f"{FOLDER}_{number}" if number else FOLDER) for number in range(len(_networks(model)))]


def _adapted(model: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [
        (parent, name, layer)
        for parent in list(model.modules())
        for name, layer in list(parent.named_children())
        if isinstance(layer, BaseTunerLayer)
    ]
