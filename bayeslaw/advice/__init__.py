"""Advice for one target: the surface there, the decision, the prediction."""
