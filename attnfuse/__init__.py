"""attnfuse: an ahead-of-time compiler that puts fused attention into MindSpore graphs."""

__version__ = "0.1.0"
