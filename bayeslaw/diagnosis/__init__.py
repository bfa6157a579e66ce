"""Whether the law describes these runs, and what they cannot tell."""
