"""What following an advisor would have cost."""
