"""Pipelines that make sound: one module a family, with its sizes and the models that are its own."""
