"""Modules of the speed benchmarks: workloads, the process of each side, the machine's speed, statistics."""
