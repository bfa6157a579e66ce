"""The next runs, their worth, and when to stop."""
