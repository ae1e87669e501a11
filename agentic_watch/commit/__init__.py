"""Commits finished dispatches. The only package that knows the three records and their order.

Journal line, then history row, then marker, each durable before the next begins. Whatever a kill or a power cut leaves
behind, running the same function again completes it, and nothing is recorded twice.
"""
