"""A local page that shows a sweep or a loop while it runs, from its files, none of which it changes."""
