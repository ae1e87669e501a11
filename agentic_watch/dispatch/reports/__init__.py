"""Reads the output of checks as reports: SARIF, JUnit XML, or our own format."""
