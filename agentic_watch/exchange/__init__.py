"""How do dispatches leave the history and come back: export, import, archive, backup; and a root's other name."""
