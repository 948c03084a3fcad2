"""Saved results compared: what goes in, the figures and tests, and how they are shown."""
