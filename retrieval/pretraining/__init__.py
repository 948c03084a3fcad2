"""Masked-language modelling of ModernBERT on plain text."""
