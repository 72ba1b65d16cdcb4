"""Pipelines that make pictures: one module a family, with its sizes and the models that are its own."""
