"""Vectors to ranked documents, and everything on disk."""
