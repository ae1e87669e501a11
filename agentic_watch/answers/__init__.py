"""Computes the answers of the command line, MCP and the dashboard. Nothing here prints."""
