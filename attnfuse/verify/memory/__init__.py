"""How much memory a graph needs when it runs: measured, each run in a process of its own, and predicted."""
