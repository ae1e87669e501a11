"""Random moves of dispatchers, agents, operators and the program itself, against a model of what must be recorded."""
