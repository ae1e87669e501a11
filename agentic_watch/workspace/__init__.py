"""A workspace on disk: layout, status, report, record, journal, marker, and safe access to its files."""
