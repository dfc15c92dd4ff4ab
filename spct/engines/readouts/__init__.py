"""Readers of decisions: next-token probabilities of option labels, from whatever runs the model."""
