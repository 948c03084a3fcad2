"""Saved results of one system: what they are, and how they are shown, as tables, files and a page."""
