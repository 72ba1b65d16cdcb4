"""Tests of attnfuse.lora."""
