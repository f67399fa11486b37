//! Requests and answers of the API, in the shapes of `contracts/mcp-tools.md`. REST and MCP share them.
