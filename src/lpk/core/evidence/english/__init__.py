"""Reading English: words, sentences, figures, whose they are, and whether a claim says what its quote says."""
