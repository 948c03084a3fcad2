"""maxsim-cpu: exact scores of all documents, in fp32 from memory."""

import numpy as np

from .cached import SIZES, Tokens, document_files, load_tokens
from .system import Setting, System


class MaxsimCpu(System):
    """Brute force with maxsim-cpu."""

    def prepare(self) -> None:
        """Import it."""
        import maxsim_cpu  # noqa: F401

    def build(self, documents: Tokens) -> None:
        """Write nothing: it has no index."""
        self.folder.mkdir()

    def open(self, size: str) -> None:
        """Read all vectors into memory, as it wants them: a list of matrices."""
        documents = load_tokens(self.collection, *document_files(SIZES[size]))
        values = documents.values.astype(np.float32)
        documents = Tokens(values, documents.offsets)
        self.documents = [documents[row] for row in range(len(documents))]

    def search(self, query: np.ndarray, k: int, setting: Setting) -> np.ndarray:
        """Score all documents and take the best."""
        import maxsim_cpu

        scores = np.asarray(maxsim_cpu.maxsim_scores_variable(query, self.documents))
        return np.argsort(-scores, kind="stable")[:k]
