"""The tests, one folder per package or trait. A real package, so that no installed `tests` can shadow it."""
