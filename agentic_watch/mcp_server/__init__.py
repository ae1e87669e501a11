"""The same for an MCP client: core-agent's tools, and this program's answers, on stdio. The only import of mcp.

The transport owns stdout; whatever else is said goes to the log. A failure that was foreseen is a tool error
of one line (`isError`), so that a client never takes it for an answer.
"""
