"""What a graph is: operators, types, checks, text. Each module is imported by its own name."""
