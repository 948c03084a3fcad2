"""Kernels in Python: compiled by numba, kept on disk, written as vector instructions where loops are not enough."""
