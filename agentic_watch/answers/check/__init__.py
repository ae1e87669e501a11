"""Is all well on this host, and what must an operator do? One file for each thing that is checked."""
