"""The checks of `check`: problems on this host, and what an operator has to do. One file per subject."""
