"""Single-vector search with FAISS."""
