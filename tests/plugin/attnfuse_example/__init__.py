"""One of everything that extends attnfuse. docs/plugins.md explains each file."""
