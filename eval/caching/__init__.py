"""Vectors of texts kept on disk, so that an encoder sees no text twice."""
