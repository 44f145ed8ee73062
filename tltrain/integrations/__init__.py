"""The judge's reward and the data of a run for other trainers: TRL, verl and ms-swift.

Each of `trl_reward`, `verl_reward` and `swift_reward` is what one of these packages loads, and calls `grading`;
`rows` writes the data they read (`tltrain convert --to trl-grpo|verl|ms-swift-grpo`). None of these packages is a
dependency of tltrain: only `swift_reward` imports its package, which is the one that loads it.

The modules are not named `trl`, `verl` and `swift`: ms-swift puts the folder of a plugin first on `sys.path`, where a
`trl.py` would hide the real package.
"""
