"""Waits until dispatches are recorded, and follows new commits."""
