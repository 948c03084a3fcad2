"""Late-interaction scores, exact: for each token of a query its best token of a document, summed.

    score(q, d) = Σ_i max_j ⟨q_i, d_j⟩        (Khattab and Zaharia 2020, arXiv 2004.12832)

Queries and documents are ragged: all their tokens lie in one matrix, with offsets. Nothing is padded, so that no padded
token can beat a negative product, and nothing grows with (queries × documents × tokens × tokens). `scores` works on
NumPy arrays; `torch` on tensors, forward and backward.
"""
