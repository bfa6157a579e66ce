"""Networks in PyTorch, their families of sizes, and exact counts of their parameters and operations."""
