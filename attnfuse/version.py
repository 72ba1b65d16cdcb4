"""The version of attnfuse, in a room of its own so that every other may read it. May import nothing."""

__version__ = "0.1.0"
