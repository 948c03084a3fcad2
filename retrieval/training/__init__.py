"""Training of retrievers on the trainers of sentence-transformers."""
