"""Audit rules, a file for each round."""
