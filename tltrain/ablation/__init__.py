"""Ablations: every combination of MAE, PKT and IRM for several random seeds, and what each part changes."""
