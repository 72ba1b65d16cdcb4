"""The passes of attnfuse, one a file. They import `attnfuse.api` and nothing else of the engine."""
