"""Encoder and index put together: readers, retriever, training."""
