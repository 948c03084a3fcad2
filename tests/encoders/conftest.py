"""Small checkpoints with random weights, made on the spot by the libraries whose formats they test."""

from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = [
    *("a", "the", "of", "to", "retrieval", "index", "dense", "query", "document", "neural"),
    *("token", "search", "fast", "exact", "model", "what", "is", "how", "ranked"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "dense retrieval",
    "what is a neural search model",
    "the fast exact index of ranked document search " * 12,
    "",
    "unknown words here",
    "token",
] + [" ".join(WORDS[start : start + size]) for start in range(5) for size in (3, 7, 11)]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Texts short and long, empty, and of unknown words."""
    return TEXTS


@pytest.fixture(scope="session")
def bare_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 2 layers with its tokenizer, without any sentence-transformers file."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = SPECIAL + WORDS + list("abcdefghijklmnopqrstuvwxyz") + [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=48)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_checkpoint(bare_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that saves a sentence-transformers checkpoint on the bare BERT."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    def make(
        pooling: str = "mean",
        normalize: bool = True,
        dense: int | None = None,
        prompts: dict[str, str] | None = None,
        max_length: int | None = 24,
        similarity: str | None = None,
        query_length: int | None = None,
        document_length: int | None = None,
    ) -> Path:
        import torch

        torch.manual_seed(1)
        transformer = Transformer(
            str(bare_bert), max_seq_length=max_length, query_length=query_length, document_length=document_length
        )
        modules: list = [transformer, Pooling(32, pooling)]
        if dense:
            modules.append(Dense(32, dense, activation_function=torch.nn.Tanh()))
        if normalize:
            modules.append(Normalize())
        model = SentenceTransformer(modules=modules, prompts=prompts, similarity_fn_name=similarity)
        folder = tmp_path_factory.mktemp("checkpoint")
        model.save_pretrained(str(folder))
        return folder

    return make
