"""Exports of a checkpoint for the peers' runtimes, made once and kept in a folder.

    onnx-fp32/model.onnx       torch.onnx.export of transformers' network, any batch size and length
    onnx-int8/model.onnx       ONNX Runtime's dynamic quantisation of it, weights per channel
    openvino-fp32/model.xml    OpenVINO's conversion of the ONNX file
    openvino-int8/model.xml    NNCF's post-training static quantisation of that, calibrated on texts

Run as a script it makes one of them: python exports.py KIND MODEL CACHE TEXTS_JSON.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

INPUTS = ("input_ids", "attention_mask")


def export_onnx(model: str, cache: Path, target: Path, texts: list[str]) -> None:
    """Export transformers' network in float32."""
    import torch
    from transformers import AutoModel

    class HiddenStates(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = AutoModel.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa").eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.network(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    # padding in the example keeps the mask in the graph
    ids, mask = map(torch.from_numpy, _padded([list(range(5, 205)), list(range(5, 155))]))
    sizes = {0: torch.export.Dim("texts", min=1, max=4096), 1: torch.export.Dim("tokens", min=2, max=8192)}
    torch.onnx.export(
        HiddenStates(),
        (ids, mask),
        str(target / "model.onnx"),
        dynamo=True,
        input_names=list(INPUTS),
        output_names=["hidden_states"],
        dynamic_shapes=dict.fromkeys(INPUTS, sizes),
    )


def quantize_onnx(model: str, cache: Path, target: Path, texts: list[str]) -> None:
    """Quantise the ONNX export, activations dynamically."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = export("onnx-fp32", model, cache, texts) / "model.onnx"
    quantize_dynamic(
        source, target / "model.onnx", weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"]
    )


def convert_openvino(model: str, cache: Path, target: Path, texts: list[str]) -> None:
    """Convert the ONNX export, weights kept in float32."""
    import openvino

    converted = openvino.convert_model(export("onnx-fp32", model, cache, texts) / "model.onnx")
    openvino.save_model(converted, target / "model.xml", compress_to_fp16=False)


def quantize_openvino(model: str, cache: Path, target: Path, texts: list[str]) -> None:
    """Quantise the OpenVINO model, weights and activations, with the calibration texts."""
    import nncf
    import openvino
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    samples = [dict(zip(INPUTS, _padded([text]), strict=True)) for text in ids]
    network = openvino.Core().read_model(export("openvino-fp32", model, cache, texts) / "model.xml")
    quantized = nncf.quantize(
        network, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(samples)
    )
    openvino.save_model(quantized, target / "model.xml", compress_to_fp16=False)


EXPORTS: dict[str, Callable[[str, Path, Path, list[str]], None]] = {
    "onnx-fp32": export_onnx,
    "onnx-int8": quantize_onnx,
    "openvino-fp32": convert_openvino,
    "openvino-int8": quantize_openvino,
}


def export(kind: str, model: str, cache: Path, texts: list[str]) -> Path:
    """Return the folder of one export, made if it is not there; a broken attempt leaves nothing."""
    target = cache / kind
    if not target.is_dir():
        partial = cache / f"{kind}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        EXPORTS[kind](model, cache, partial, texts)
        partial.rename(target)
    return target


def export_apart(kind: str, model: str, cache: Path, texts: list[str]) -> str | None:
    """Make an export in a process of its own, whose memory is free afterwards; return the reason if it failed."""
    if (cache / kind).is_dir():
        return None
    cache.mkdir(parents=True, exist_ok=True)
    listed = cache / "calibration.json"
    listed.write_text(json.dumps(texts))
    command = [sys.executable, __file__, kind, model, str(cache), str(listed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else f"export failed: {lines[-1] if lines else done.returncode}"


def _padded(ids: list[list[int]], padding: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and mask, (texts, longest) int64, filled up on the right."""
    shape = (len(ids), max(map(len, ids)))
    rows, mask = np.full(shape, padding, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for number, text in enumerate(ids):
        rows[number, : len(text)] = text
        mask[number, : len(text)] = 1
    return rows, mask


def padded_batches(ids: list[list[int]], size: int, padding: int) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Yield (numbers of the texts, ids, mask) of batches of like length, longest first, as sentence-transformers does.

    Ids and mask are (texts, longest) int64.
    """
    order = sorted(range(len(ids)), key=lambda number: -len(ids[number]))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield chosen, *_padded([ids[number] for number in chosen], padding)


if __name__ == "__main__":
    export(sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(Path(sys.argv[4]).read_text()))
