"""Attention within the texts of a stream: one interface, back-ends for what each machine has."""
