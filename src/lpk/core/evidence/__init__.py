"""The evidence half: from a research direction to an audited draft in which no claim is stronger than its evidence."""
