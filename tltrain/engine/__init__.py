"""Token trees, their attention, log-probabilities, generation, optimiser and checkpoints. Knows nothing of tools."""
