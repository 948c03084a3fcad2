"""Readers that stream documents, queries, judgements and training examples from files and data sets."""
