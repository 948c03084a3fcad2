"""Hard negatives for training pairs, and a teacher's scores: JSON Lines in, JSON Lines out, block by block."""
