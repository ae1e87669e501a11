"""Facilities of the host: file systems, processes, threads, new files, optional parts."""
