"""What several tests share: samples, micro models, commands."""
