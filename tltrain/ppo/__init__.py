"""Proximal policy optimisation of the judge's reward: pure tensor maths, and the loop around it."""
