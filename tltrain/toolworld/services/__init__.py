"""The tools of toolworld, one module per domain."""
