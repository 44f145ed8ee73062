"""Downloads of data sets and wheels, verified by SHA-256."""
