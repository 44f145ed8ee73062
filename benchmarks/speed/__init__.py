"""Modules of `benchmarks/sft_speed.py`: workloads, the process of each trainer, the machine's speed, statistics."""
