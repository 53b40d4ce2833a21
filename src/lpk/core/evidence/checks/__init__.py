"""Claims that run: an expression over a study's tables, and the verdict with its uncertainty."""
