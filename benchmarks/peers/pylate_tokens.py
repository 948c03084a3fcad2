"""Runs in PyLate's own environment: token embeddings of a list of texts by ColBERTs, some of which it saves first.

    python pylate_tokens.py JOBS.json

The file holds the texts and a list of jobs: the folder to load, settings of `ColBERT`, the folder to save to or null,
and the file for the embeddings. Those are end to end, with the number of tokens of each text, for queries and
documents.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pylate import models


def main() -> None:
    """Do every job."""
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for job in jobs["jobs"]:
        torch.manual_seed(job["seed"])
        model = models.ColBERT(job["load"], device="cpu", **job["settings"])
        if job["save"]:
            model.save(job["save"], create_model_card=False)
        arrays: dict[str, Any] = {}
        for task in ("query", "document"):
            rows = model.encode(jobs["texts"], is_query=task == "query", show_progress_bar=False)
            arrays[task] = np.concatenate(rows)
            arrays[f"{task}_tokens"] = np.array([len(one) for one in rows])
        np.savez(job["output"], **arrays)


if __name__ == "__main__":
    main()
