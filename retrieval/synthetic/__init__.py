"""Training pairs made from documents alone: their titles, headings, sentences and docstrings ask for the rest."""
