"""Corpora of the training lab: documents, their tokens, and the order in which they are read."""
