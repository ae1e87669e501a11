"""What stands in the workspaces and on the host now."""
