"""The command line: one Typer app, each command a few lines that call a part of the package.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

from . import (
    benching,
    comparing,
    converting,
    evaluating,
    indexing,
    languages,
    mining,
    modelling,
    pairs,
    pretraining,
    reproducing,
    searching,
    training,
    welcoming,
)
from .root import app, main

__all__ = [
    "app",
    "benching",
    "comparing",
    "converting",
    "evaluating",
    "indexing",
    "languages",
    "main",
    "mining",
    "modelling",
    "pairs",
    "pretraining",
    "reproducing",
    "searching",
    "training",
    "welcoming",
]
