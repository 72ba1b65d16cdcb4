"""Pipelines that make videos: one module a family, with its sizes and the models that are its own."""
