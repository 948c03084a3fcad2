"""The ModernBERT network: its sizes, and a new one with random weights."""
