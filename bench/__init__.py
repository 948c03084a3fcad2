"""Measuring on the user's own machine: each variant a process of its own, asked in turn."""
