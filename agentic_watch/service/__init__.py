"""The daemon as a service of the host: one instance per history."""
