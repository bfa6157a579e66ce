"""The next runs, what they are worth, and when to stop."""
