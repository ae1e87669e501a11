"""Answers from the history."""
