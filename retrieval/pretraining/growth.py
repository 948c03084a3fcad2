"""The weights of a larger network repeated from a smaller one, as ModernBERT-large began as ModernBERT-base.

Warner et al. 2024 (arXiv 2412.13663, section 2.2.2): a matrix of the smaller network stands in the middle of the larger
one's and is continued around itself, rows and columns alike ("tiling", from the Phi models), the thirds of the fused
projection and the halves of the gated one each for themselves; layer i of L comes from layer round(i · l / L) of l (Rae
et al. 2021, arXiv 2112.11446, appendix G.3.3). The middle is moved to the border of an attention head, so that RoPE's
pairs stay together; for base and large it lies on one.
"""

import torch

from ...encoders.modernbert.config import ModernBertConfig
from ...encoders.modernbert.network import MaskedLanguageModel
from ...errors import InputError

FUSED = {"attn.Wqkv.weight": 3, "mlp.Wi.weight": 2}
"""How many matrices of their own, one below the other, some weights hold."""


def tile_network(small: MaskedLanguageModel, large: MaskedLanguageModel) -> None:
    """Fill a network with the weights of a smaller one.

    Args:
        small: Whose weights to take.
        large: Overwritten. What the smaller has none for (a norm that its first layer lacks, a decoder's bias) stays.

    Raises:
        InputError: The networks differ in vocabulary or in the width of a head, or something is smaller in the larger.
    """
    check_growth(small.config, large.config)
    weights = small.state_dict()
    with torch.no_grad():
        for name, target in large.state_dict().items():
            source = weights.get(_source(name, small.config.layers, large.config.layers))
            if source is not None:
                target.copy_(_tiled_parts(source, target.shape, name, large.config))
    large.tie()


def check_growth(small: ModernBertConfig, large: ModernBertConfig) -> None:
    """Refuse sizes between which weights cannot be tiled.

    Raises:
        InputError: The message names the size.
    """
    for name in ("width", "intermediate", "layers", "heads"):
        if getattr(small, name) > getattr(large, name):
            found = f"{getattr(small, name)} and {getattr(large, name)}"
            raise InputError(f"tile_from: the model has more {name} than the one it is to fill ({found})")
    for name in ("vocabulary", "head_width"):
        if getattr(small, name) != getattr(large, name):
            found = f"{getattr(small, name)} and {getattr(large, name)}"
            raise InputError(f"tile_from: both models need the same {name.replace('_', ' ')}, found {found}")


def tiled(source: torch.Tensor, shape: torch.Size, units: tuple[int, ...]) -> torch.Tensor:
    """Put a tensor into the middle of a larger one and continue it around itself.

    Args:
        source: Of as many dimensions as `shape`, no larger in any.
        shape: Of the result.
        units: For each dimension, what the place of the middle is rounded down to a multiple of.
    """
    for dimension, (size, unit) in enumerate(zip(shape, units, strict=True)):
        held = source.shape[dimension]
        offset = (size - held) // 2 // unit * unit
        source = source.index_select(dimension, (torch.arange(size) - offset) % held)
    return source


def _source(name: str, layers: int, all_layers: int) -> str:
    """Return the tensor of the smaller network that one of the larger comes from."""
    parts = name.split(".")
    if "layers" not in parts:
        return name
    place = parts.index("layers") + 1
    parts[place] = str(min(round(int(parts[place]) * layers / all_layers), layers - 1))
    return ".".join(parts)


def _tiled_parts(source: torch.Tensor, shape: torch.Size, name: str, large: ModernBertConfig) -> torch.Tensor:
    count = next((count for ending, count in FUSED.items() if name.endswith(ending)), 1)
    unit = large.head_width
    along = {"attn.Wqkv.weight": (unit, 1), "attn.Wo.weight": (1, unit)}
    units = next((units for ending, units in along.items() if name.endswith(ending)), (1,) * len(shape))
    part = torch.Size((shape[0] // count, *shape[1:]))
    return torch.cat([tiled(piece, part, units) for piece in source.chunk(count)])
