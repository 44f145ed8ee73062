"""Parts of `benchmarks/sft_speed.py`: the logs, one trainer a process, the machine's rate, the figures."""
