"""One HTML file to send round."""
