"""The peers behind one form: a function that loads a model in a worker and returns (task, texts) to embeddings.

ONNX Runtime and OpenVINO get batches of 32 texts of like length, padded to the longest, as sentence-transformers makes
them, and the mean of the hidden states, normalised; that is what the checkpoint's own modules do.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from peers.exports import INPUTS, padded_batches

from modernir.bench.variants import Encode, Request, encode_with
from modernir.encoders.precision import torch_dtype

BATCH = 32
Network = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Maps padded ids and mask to hidden states, (texts, longest, width) float32."""


def load_onnxruntime(model: str, export: str, threads: int | None) -> Encode:
    """Load an ONNX export in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(Path(export) / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    return _pooled(model, lambda inputs: session.run(None, inputs)[0])


def load_openvino(model: str, export: str, threads: int | None, precision: str | None) -> Encode:
    """Load an OpenVINO export on the CPU; `precision` is its hint, None leaves the default."""
    import openvino

    settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    compiled = openvino.Core().compile_model(Path(export) / "model.xml", "CPU", settings)
    return _pooled(model, lambda inputs: compiled(inputs)[0])


def _pooled(model: str, network: Network) -> Encode:
    from tokenizers import Tokenizer
    from transformers import AutoConfig

    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    config = AutoConfig.from_pretrained(model)
    tokenizer.enable_truncation(config.max_position_embeddings)

    def encode(request: Request) -> np.ndarray:
        ids = [encoding.ids for encoding in tokenizer.encode_batch(request[1])]
        vectors = np.empty((len(ids), config.hidden_size), dtype=np.float32)
        for chosen, rows, mask in padded_batches(ids, BATCH, config.pad_token_id):
            hidden = network(dict(zip(INPUTS, (rows, mask), strict=True)))
            sums = np.einsum("tlw,tl->tw", hidden, mask.astype(np.float32), optimize=True)
            vectors[chosen] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return vectors

    return encode


def load_compiled(model: str, device: str, precision: str) -> Encode:
    """Load sentence-transformers with its network through torch.compile, shapes dynamic."""
    import torch

    loaded = _load(model, device, precision)
    loaded[0].auto_model.compile(dynamic=True)
    torch._dynamo.config.cache_size_limit = 64
    return encode_with(loaded)


def load_packed_encoders(model: str, device: str, precision: str, graphs: bool) -> Encode:
    """Load sentence-transformers patched by packed-encoders, with CUDA graphs for short texts or without."""
    import packed_encoders

    loaded = _load(model, device, precision)
    wanted = packed_encoders.GraphConfig(pad_to=64, max_batch=256, max_seq=128, max_graphs=32) if graphs else False
    packed_encoders.pack(loaded, cuda_graph=wanted)
    return encode_with(loaded)


def _load(model: str, device: str, precision: str):  # noqa: ANN202 - a SentenceTransformer, imported where it is used
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(model, device=device, model_kwargs={"dtype": torch_dtype(precision)})
