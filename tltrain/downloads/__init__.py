"""Data sets and the built-in model: fetched, and checked by SHA-256."""
