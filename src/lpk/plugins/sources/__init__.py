"""Evidence sources."""
