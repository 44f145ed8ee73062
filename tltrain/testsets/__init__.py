"""Test sets, one file each: load, and make items of them. Knows nothing of trainers."""
