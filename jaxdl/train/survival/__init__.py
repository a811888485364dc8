"""Proof that a run which is killed again and again ends as one that never was."""
