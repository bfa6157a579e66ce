"""A policy rehearsed on a finished sweep."""
