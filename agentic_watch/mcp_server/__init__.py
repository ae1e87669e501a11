"""The MCP server on stdio: core-agent's tools and this program's answers. The only package that imports mcp.

The transport owns stdout; all messages go to the log. A foreseeable failure is a tool error of one line (`isError`), so
that a client does not take it for an answer.
"""
