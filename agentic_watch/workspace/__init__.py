"""What a workspace is on disk: layout, status, report, record, journal, marker, and the files themselves."""
