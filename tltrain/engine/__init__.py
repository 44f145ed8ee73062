"""Token trees, their attention, log-probabilities, generation, optimiser and checkpoints. Does not depend on tools."""
