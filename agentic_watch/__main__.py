"""`python -m agentic_watch`: the same program as the console script."""

from agentic_watch.cli import main

if __name__ == "__main__":
    main()
