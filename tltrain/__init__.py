"""tltrain: train language models to call tools, from about a thousand noisy trajectories."""
