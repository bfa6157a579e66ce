"""Whether the law describes these runs, and what they do not tell."""
