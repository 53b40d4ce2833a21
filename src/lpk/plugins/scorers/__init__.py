"""Layer scorers."""
