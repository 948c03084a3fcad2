"""A collection in BEIR's layout as a task of mteb, without its hub."""

from typing import Any

from ..errors import InputError
from .loading import Benchmark


def beir_task(benchmark: Benchmark) -> Any:  # noqa: ANN401 - mteb's AbsTaskRetrieval
    """Return a retrieval task of mteb that holds a benchmark's documents, judged queries and judgements.

    Raises:
        InputError: mteb is not installed.
    """
    try:
        from mteb.abstasks.retrieval import AbsTaskRetrieval
        from mteb.abstasks.task_metadata import TaskMetadata
    except ImportError as error:
        raise InputError('mteb is not installed; add it with: pip install "modernir[mteb]"') from error
    from datasets import Dataset

    class LocalTask(AbsTaskRetrieval):
        data_loaded: bool = False
        ignore_identical_ids = benchmark.identical_ids
        metadata = TaskMetadata(
            name=benchmark.name.replace("/", "-"),
            dataset={"path": "local", "revision": benchmark.checksum},
            description=f"{benchmark.name}, split {benchmark.split}",
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=[benchmark.split],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, *args: object, **options: object) -> None:
            if self.data_loaded:
                return
            documents = (document for document, _ in benchmark.folder.documents())
            rows = [{"id": one.id, "title": one.title, "text": one.text} for one in documents]
            asked = [{"id": name, "text": text} for name, text in benchmark.queries.items()]
            split = {
                "corpus": Dataset.from_list(rows),
                "queries": Dataset.from_list(asked),
                "relevant_docs": {query: dict(benchmark.qrels[query]) for query in benchmark.queries},
                "top_ranked": None,
            }
            self.dataset = {"default": {benchmark.split: split}}
            self.data_loaded = True

    return LocalTask()
