"""Recall of indexes against exact search: measured over settings, and shown as a table, as files and as a page."""
