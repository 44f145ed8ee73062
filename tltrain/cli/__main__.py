"""`python -m tltrain.cli`."""

from tltrain.cli import main

main()
