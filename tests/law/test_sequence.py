"""The best batch counts sequences: what a table of another sequence length changes."""
