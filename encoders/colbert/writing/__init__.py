"""ColBERT checkpoints written: one description, in the files of each format that can hold it."""
