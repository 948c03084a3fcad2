"""Tokenizers learnt from sources of texts, and what they cost on others."""
