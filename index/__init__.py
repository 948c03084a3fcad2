"""Vectors to ranked documents, and everything on disk."""

from .documents import Document
