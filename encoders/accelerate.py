"""`modernir.accelerate`: a model of sentence-transformers or transformers goes on as it is, on this package's engine.

The parameters stay where they are, under their names, so that everything that trains, saves or copies the model works
as before. What changes is the class of the ModernBERT inside, and so how it computes.
"""

from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError
from .precision import CPU_FEATURES

if TYPE_CHECKING:
    import torch

    from .dense import DenseEncoder
    from .modernbert.config import ModernBertConfig

Model = TypeVar("Model")


def accelerate(model: Model, attention: str | None = None, precision: str | None = None, enabled: bool = True) -> Model:
    """Let the ModernBERT in a model compute without padding; the model is changed in place.

    Training, and encoding on a GPU, run on one stream of tokens with the fastest attention there is. Encoding on a CPU
    (no gradients, evaluation mode) runs on a packed copy of the weights, made when it is first needed, made again
    when a weight changed, and dropped when training goes on. (Single numbers written through `.data`, behind the back
    of torch, may go unseen.) Outputs on padding are zero.

    Inputs and settings that this engine does not cover run as before: `inputs_embeds`, attentions or the states of all
    layers asked for, attention masks with gaps, training with attention drop-out, and torch.compile. So does encoding
    with adapters or hooks in the layers, but for the padding. Tokens to be read but not to be seen (ColBERT's query
    expansion with `attend=False`) are covered where they come after the others.

    Args:
        model: A `SentenceTransformer`, a `MultiVectorEncoder`, a `ModernBertModel`, or a module that holds one.
        attention: Name of an attention back-end, see `modernir doctor`; None takes the best there is. With one named,
            weights are not packed.
        precision: What encoding on a CPU computes in: "fp32", "bf16" or "int8"; None means that of the weights.
        enabled: False undoes it.

    Returns:
        The model.

    Raises:
        InputError: There is no ModernBERT in it, its configuration is not supported, or the back-end or precision is
            unknown.
    """
    from .modernbert.config import ModernBertConfig

    backbones = _backbones(model)
    if not enabled:
        for backbone in backbones:
            _restore(backbone)
        return model
    configs = [ModernBertConfig.from_fields(backbone.config.to_dict(), "the model's config") for backbone in backbones]
    _check(precision, attention, backbones[0].device, configs)

    from .accelerated import ModernBertModel, Settings

    for backbone, config in zip(backbones, configs, strict=True):
        backbone.modernir_settings = Settings(config, attention, precision)
        backbone.__class__ = ModernBertModel
    return model


def _backbones(model: object) -> list[Any]:
    import torch

    from .dense import DenseEncoder

    if isinstance(model, DenseEncoder):
        raise InputError(f"{_said_of(model)}; accelerate is for models of sentence-transformers or transformers")
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"expected a model of sentence-transformers or transformers, found {type(model).__name__}")

    from transformers import ModernBertModel, PreTrainedModel

    found = [module for module in model.modules() if isinstance(module, ModernBertModel)]
    if not found:
        networks = sorted({type(module).__name__ for module in model.modules() if isinstance(module, PreTrainedModel)})
        held = f"holds {' and '.join(networks)}" if networks else f"a {type(model).__name__} without a transformer"
        raise InputError(f"only ModernBERT is accelerated; the model {held}")
    return found


def _said_of(encoder: "DenseEncoder") -> str:
    if hasattr(encoder, "model"):
        return f"found {type(encoder).__name__}, which runs through sentence-transformers; give its .model"
    return f"found {type(encoder).__name__}: what load_encoder returned already runs on this package's engine"


def _restore(backbone: Any) -> None:  # noqa: ANN401 - a ModernBertModel of transformers
    from transformers import ModernBertModel

    if type(backbone) is not ModernBertModel:
        backbone.__class__ = ModernBertModel
        del backbone.modernir_settings


def _check(
    precision: str | None, attention: str | None, device: "torch.device", configs: "list[ModernBertConfig]"
) -> None:
    import torch

    from .modernbert.attention.choose import choose
    from .modernbert.load import why_no_engine

    if attention is not None:
        choose(device, torch.bfloat16 if device.type == "cuda" else torch.float32, attention)
    if precision is None:
        return
    if precision not in CPU_FEATURES:
        raise InputError(f"unknown precision {precision!r}; expected one of {', '.join(CPU_FEATURES)}")
    if attention is not None:
        raise InputError(
            f"encoding in {precision} has an attention of its own; leave {attention!r} or the precision out"
        )
    if reason := next(filter(None, (why_no_engine(config, precision) for config in configs)), None):
        raise InputError(f"encoding in {precision} is not to be had: {reason}")
