"""`python -m tltrain`: as `torchrun -m` and `accelerate launch -m` start it."""

from tltrain.cli import main

main()
