"""The program, as the console script and as `python -m agentic_watch`."""

import signal


def main() -> None:
    """While the rest is imported, Ctrl-C ends it without a word: nothing has been done yet."""
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started us ignores it
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from agentic_watch.cli import main as run

    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
