"""The loops of late-interaction search, compiled for the processor at hand."""
