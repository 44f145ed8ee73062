"""Words around the requests: politeness, questions that need no tool, refusals."""

from __future__ import annotations

OPENINGS = (
    *("Hi! ", "Hello, ", "Good morning. ", "Quick question: ", "Hey there. ", "One thing: ", "Sorry to bother you. "),
    *("I'm in a hurry. ", "Could you help me? ", "Let's see. ", "Next one. ", "I have a request. "),
)
CLOSINGS = (
    *(" Thanks!", " Thank you.", " It's fairly urgent.", " No rush.", " Cheers.", " Much appreciated."),
    *(" Just the facts, please.", " That would help me a lot."),
)
PAIRS = (
    "{0} Also: {1}",
    "{0} And another thing: {1}",
    "Two things. First: {0} Second: {1}",
    "{0}\n{1}",
    "(1) {0} (2) {1}",
    "{0} While you're at it: {1}",
)
TRIPLES = (
    "Three things. (1) {0} (2) {1} (3) {2}",
    "{0}\n{1}\n{2}",
    "{0} Also: {1} And finally: {2}",
)
REFUSALS = (
    "I'm sorry, I can't do that here. I can help with {topics}.",
    "Sorry, none of my tools can do that; they cover {topics}.",
    "I'm afraid that is beyond what I can do. My tools are for {topics}.",
    "Unfortunately I have no tool for that. What I can do is help with {topics}.",
)
GENERAL = (
    ("Thanks, that was all for today.", "You're welcome. Have a nice day!"),
    ("Who was the first person to walk on the Moon?", "Neil Armstrong, in July 1969."),
)
