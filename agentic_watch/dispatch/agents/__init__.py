"""Parsers for the results of agents' programs: one file per program, and a table that recognises them."""
