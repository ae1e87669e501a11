"""What do we answer, whoever asks: the command line, MCP, a fleet. Nothing here prints."""
