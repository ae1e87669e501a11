"""The benchmark: agentic-watch beside what a user could have instead, in one run. `python -m benchmarks --help`."""
