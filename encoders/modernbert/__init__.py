"""The ModernBERT network: its configuration and sizes, its folders, a new one with random weights."""
