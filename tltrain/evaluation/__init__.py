"""Test sets to scores: inference, predictions, verdicts, significance."""
