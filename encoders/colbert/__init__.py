"""Texts to token vectors: late-interaction (ColBERT) encoders and the formats that their checkpoints come in."""

from .encoder import ColbertEncoder

__all__ = ["ColbertEncoder"]
