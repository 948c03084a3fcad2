"""Figures that others published, each with its source, which also says what is uncertain about it."""

from collections.abc import Mapping

FLAT, MULTIFIELD, MINILM = "BM25 flat", "BM25 multifield", "all-MiniLM-L6-v2"

M3_SYSTEMS = ("BM25 on XLM-R's tokens", "M3-Embedding, dense", "M3-Embedding, multi-vector")

MLDR_M3: Mapping[str, tuple[float, float, float]] = {
    "ar": (0.451, 0.476, 0.566),
    "de": (0.526, 0.461, 0.504),
    "en": (0.570, 0.489, 0.558),
    "es": (0.780, 0.748, 0.795),
    "fr": (0.757, 0.738, 0.772),
    "hi": (0.437, 0.407, 0.466),
    "it": (0.709, 0.627, 0.668),
    "ja": (0.362, 0.509, 0.528),
    "ko": (0.257, 0.429, 0.488),
    "pt": (0.826, 0.744, 0.775),
    "ru": (0.613, 0.595, 0.642),
    "th": (0.336, 0.336, 0.394),
    "zh": (0.346, 0.260, 0.327),
}
"""Language to nDCG@10 of `M3_SYSTEMS` on MLDR's test split."""

MLDR_COLUMNS = ("single vector, out of domain", "single vector, in domain", "ColBERT, out of domain")

TABLE_1: Mapping[str, tuple[float, float, float, float]] = {
    "BERT-base": (0.239, 0.322, 0.281, 0.595),
    "RoBERTa-base": (0.229, 0.328, 0.282, 0.596),
    "DeBERTaV3-base": (0.054, 0.134, 0.219, 0.186),
    "NomicBERT": (0.267, 0.303, 0.613, 0.614),
    "GTE-en-MLM-base": (0.343, 0.444, 0.693, 0.714),
    "ModernBERT-base": (0.274, 0.440, 0.802, 0.736),
    "BERT-large": (0.233, 0.317, 0.285, 0.608),
    "RoBERTa-large": (0.226, 0.361, 0.288, 0.681),
    "DeBERTaV3-large": (0.071, 0.192, 0.230, 0.197),
    "GTE-en-MLM-large": (0.364, 0.489, 0.713, 0.669),
    "ModernBERT-large": (0.343, 0.486, 0.804, 0.839),
}
"""Model to its figures on English MLDR, in the order of `MLDR_COLUMNS`, and on StackOverflowQA, after fine-tuning."""

MODERNBERT_MLDR: Mapping[str, float] = {
    f"{model}, {column}": figure
    for model, figures in TABLE_1.items()
    for column, figure in zip(MLDR_COLUMNS, figures, strict=False)
}
MODERNBERT_STACKOVERFLOW: Mapping[str, float] = {model: figures[3] for model, figures in TABLE_1.items()}

_TABLE_1_SOURCE = "Warner et al. 2024, arXiv 2412.13663, table 1; which split of MLDR it is, the table does not say"

SOURCES: Mapping[str, str] = {
    FLAT: "Pyserini 2CR for BEIR v1.0.0, title and text in one field, k1 0.9, b 0.4",
    MULTIFIELD: "Pyserini 2CR for BEIR v1.0.0, title and text as two fields of equal weight",
    MINILM: "MTEB leaderboard, sentence-transformers/all-MiniLM-L6-v2",
    **dict.fromkeys(M3_SYSTEMS, "Chen et al. 2024, arXiv 2402.03216, table of the MLDR test set"),
    **dict.fromkeys((*MODERNBERT_MLDR, *MODERNBERT_STACKOVERFLOW), _TABLE_1_SOURCE),
}
"""Where a system's published figures come from."""
