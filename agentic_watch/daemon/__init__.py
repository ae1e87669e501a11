"""The daemon: its main loop, schedule and state, and what it reports to systemd and other commands."""
