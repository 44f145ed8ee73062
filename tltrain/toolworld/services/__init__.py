"""The tools of toolworld, one file a domain."""
