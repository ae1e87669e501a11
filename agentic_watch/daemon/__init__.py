"""The running process: the loop, what is due when, how it is, and what it tells systemd and everybody else."""
