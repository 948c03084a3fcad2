"""Search over coded segments on a device of torch, such as a GPU: the arrays of the segments are kept there whole.

It does what `with_faiss` does, in floats and with torch's operations.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..engine import Found
from ..masks import Mask
from .codec import Codec
from .effort import Effort, chosen_effort
from .findable import Findable, filled_rows
from .segment import CodedSegment
from .uncompressed import best

if TYPE_CHECKING:
    import torch

_BLOCK = 1 << 16  # tokens that are decoded at once


class TorchSearch:
    """Finds the documents of coded segments; an object of it never changes.

    Attributes:
        codec: Of the segments, or a later version of it.
        bounds: Rows before each segment, and in all.
    """

    def __init__(self, codec: Codec, segments: Sequence[CodedSegment], device: str) -> None:
        import torch

        self.codec = codec
        self.bounds = np.cumsum([0, *(segment.rows for segment in segments)])
        self._filled = filled_rows(segments)
        self._device = torch.device(device)
        self._centroids = self._moved(codec.centroids)
        self._steps = self._moved(codec.steps)
        tokens = np.cumsum([0, *(segment.tokens for segment in segments)])
        offsets = [segment.offsets[:-1] + first for segment, first in zip(segments, tokens, strict=False)]
        self._offsets = self._moved(np.concatenate([*offsets, tokens[-1:]]))
        self._codes = self._joined([segment.codes.astype(np.int32) for segment in segments])
        self._residuals = self._joined([segment.residuals for segment in segments])
        scales = [segment.scales for segment in segments if segment.scales is not None]
        self._scales = self._joined(scales) if scales else None
        self._postings = [
            (int(first), self._moved(segment.posting_offsets), self._moved(segment.posting_rows.astype(np.int32)))
            for first, segment in zip(self.bounds, segments, strict=False)
        ]

    def search(
        self,
        values: np.ndarray,
        offsets: np.ndarray,
        k: int,
        masks: Sequence[Mask | None],
        *,
        nprobe: int | None = None,
        candidates: int | None = None,
        exact: bool = False,
        threads: int | None = None,
    ) -> Found:
        """Return the best rows of each query; arguments as of `FaissSearch.search`."""
        effort = chosen_effort(int(self.bounds[-1]), k, nprobe, candidates)
        findable = Findable(self.bounds, masks)
        direct = findable.direct(effort, exact)
        allowed = np.zeros(self.bounds[-1], bool)
        allowed[findable.positions] = True
        allowed_here = self._moved(allowed)
        found: Found = ([], [])
        for start, stop in pairwise(offsets):
            query = self._moved(values[start:stop])
            if not len(query):
                rows = np.empty(0, np.int64)
            elif direct is not None:
                rows = direct
            else:
                probed = self._probed(query, effort, allowed_here).cpu().numpy()
                rows = findable.filled_up(probed, effort, self._filled)
            ranked = best(self._scored(query, self._moved(rows)).cpu().numpy(), rows, k)
            for results, part in zip(found, ranked, strict=True):
                results.append(part)
        return found

    def score(self, values: np.ndarray, offsets: np.ndarray, positions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the exact score of each query with given rows, (n,) float32 each."""
        queries = [self._moved(values[start:stop]) for start, stop in pairwise(offsets)]
        rows = [self._moved(np.asarray(found, np.int64)) for found in positions]
        return [self._scored(query, some).cpu().numpy() for query, some in zip(queries, rows, strict=True)]

    def _probed(self, query: "torch.Tensor", effort: Effort, allowed: "torch.Tensor") -> "torch.Tensor":
        """Return the rows that look best by the centroids alone, ascending."""
        import torch

        nearness, probed = (query @ self._centroids.T).topk(min(effort.nprobe, len(self._centroids)), dim=1)
        gains = nearness - nearness[:, -1:]
        rows = int(self.bounds[-1])
        sums = torch.full((len(query), rows), -torch.inf, device=self._device)
        for first, offsets, postings in self._postings:
            inside = probed < len(offsets) - 1
            centroids = probed[inside]
            counts = offsets[centroids + 1] - offsets[centroids]
            places = _ranges(offsets[centroids], counts)
            tokens = torch.arange(len(query), device=self._device)[:, None].expand_as(probed)[inside]
            targets = tokens.repeat_interleave(counts) * rows + first + postings[places]
            sums.view(-1).scatter_reduce_(0, targets, gains[inside].repeat_interleave(counts), "amax")
        touched = (sums > -torch.inf).any(0) & allowed
        total = sums.clamp(min=0).sum(0).masked_fill(~touched, -torch.inf)
        order = total.sort(descending=True, stable=True).indices[: min(effort.candidates, int(touched.sum()))]
        return order.sort().values

    def _scored(self, query: "torch.Tensor", rows: "torch.Tensor") -> "torch.Tensor":
        """Return the MaxSim of rows, (n,) float32; −inf for rows or queries without tokens."""
        import torch

        scores = torch.full((len(rows), len(query)), -torch.inf, device=self._device)
        counts = self._offsets[rows + 1] - self._offsets[rows]
        tokens = _ranges(self._offsets[rows], counts)
        owners = torch.arange(len(rows), device=self._device).repeat_interleave(counts)
        for start in range(0, len(tokens), _BLOCK):
            part = slice(start, start + _BLOCK)
            products = self._decoded(tokens[part]) @ query.T
            scores.scatter_reduce_(0, owners[part, None].expand_as(products), products, "amax")
        return scores.sum(1) if len(query) else scores.new_full((len(rows),), -torch.inf)

    def _decoded(self, tokens: "torch.Tensor") -> "torch.Tensor":
        import torch

        bits, packed = self.codec.nbits, self._residuals[tokens]
        parts = [(packed >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
        levels = torch.cat(parts, dim=1)[:, : self.codec.dim].float()
        decoded = (levels - ((1 << bits) - 1) / 2) * self._steps + self._centroids[self._codes[tokens]]
        return decoded if self._scales is None else decoded * (self._scales[tokens].float() / 255 + 0.5)[:, None]

    def _joined(self, arrays: Sequence[np.ndarray]) -> "torch.Tensor":
        import torch

        return torch.cat([self._moved(array) for array in arrays])

    def _moved(self, array: np.ndarray) -> "torch.Tensor":
        import torch

        return torch.from_numpy(np.array(array)).to(self._device)  # a copy: the segment's own memory is read-only


def _ranges(firsts: "torch.Tensor", counts: "torch.Tensor") -> "torch.Tensor":
    """Return the numbers first, first + 1, … of each of several runs, one after the other."""
    import torch

    begins = firsts - (counts.cumsum(0) - counts)
    return begins.repeat_interleave(counts) + torch.arange(int(counts.sum()), device=firsts.device)
