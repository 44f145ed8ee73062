"""Small jobs on a piece of text."""

from __future__ import annotations

import re
from typing import Literal

from tltrain.toolworld.service import Service, Slots, ValueSampler, Worded
from tltrain.toolworld.styles import JSON
from tltrain.toolworld.world import World

SENTENCES = tuple(
    f"{who} {does} {what}"
    for who in ("the old captain", "a grey cat", "my neighbour", "every student", "the tall gardener")
    for does, what in (
        ("found a letter", "under the bridge"),
        ("carried two lamps", "up the hill"),
        ("sang a song", "about the sea"),
        ("drew a map", "of the island"),
        ("sold apples", "at the market"),
        ("painted a door", "bright red"),
        ("lost a coat", "on the train"),
        ("built a kite", "for the children"),
    )
)
OTHERS = ("window", "garden", "river", "mountain", "castle", "forest", "engine", "violin", "lantern", "pencil", "ship")
WORDS = (
    "banana",
    "level",
    "summer",
    "kayak",
    "orange",
    "planet",
    "refer",
    "candle",
    "window",
    "noon",
    "pillow",
    "radar",
)

text = Service("text", "short texts", JSON)


def _sentence(d: ValueSampler) -> Slots:
    return {"text": d.pick(SENTENCES)}


def _swap(d: ValueSampler) -> Slots:
    sentence = d.pick(SENTENCES)
    words = [word for word in sentence.split() if len(word) > 3]
    return {"text": sentence, "old": d.rng.choice(words), "new": d.pick(OTHERS)}


def _words(given: str) -> list[str]:
    words = given.split()
    if not words:
        raise ValueError("the text is empty")
    return words


@text.tool(
    draw=_sentence,
    wordings=(
        'Count the words in "{text}".',
        'How many words do you count in "{text}"?',
        'I may write ten words at most. Count those in "{text}".',
        'What\'s the word count of "{text}"?',
        '"{text}": count all words, please.',
        'Please count how many words I used in "{text}".',
        'How many words long is "{text}"?',
    ),
    held_out=(
        'A word count for "{text}", please.',
        'Can you count for me how many words "{text}" has?',
    ),
    answer=lambda a, r: f"It has {r} words.",
)
def count_words(world: World, text: str) -> int:
    """Number of words in a text: count how many words long it is."""
    return len(_words(text))


@text.tool(
    draw=_sentence,
    wordings=(
        'How many characters does "{text}" have, spaces included?',
        'Count the characters in "{text}".',
        'What\'s the length of "{text}" in characters?',
        'Will "{text}" fit into 40 characters? Count them.',
        'I need a count of all characters in "{text}", with spaces.',
        'A sign has room for 50 characters. How many does "{text}" need?',
        'What is the length of "{text}", spaces included?',
    ),
    held_out=(
        'The number of characters in "{text}", please.',
        'Can you count the characters of "{text}" for me?',
    ),
    answer=lambda a, r: f"It has {r} characters.",
)
def count_characters(world: World, text: str) -> int:
    """Count the characters of a text: its length, all spaces included."""
    _words(text)
    return len(text)


@text.tool(
    draw=lambda d: {"text": d.pick(SENTENCES), "letter": d.pick(("a", "e", "i", "o", "n", "r", "t", "s"))},
    wordings=(
        'How often does the letter {letter} occur in "{text}"?',
        'Count the letter {letter} in "{text}".',
        'How many times does the letter {letter} appear in "{text}"?',
        'Count how often the letter {letter} occurs in "{text}".',
        'In "{text}", how many letters are {letter}?',
        'I wonder how many times the letter {letter} appears in "{text}".',
        'How often does {letter} occur in "{text}"?',
    ),
    held_out=(
        'How many times does "{text}" contain the letter {letter}?',
        'Please count each letter {letter} in "{text}".',
    ),
    answer=lambda a, r: f"The letter {a['letter']} occurs {r} times.",
)
def count_letter(world: World, text: str, letter: str) -> int:
    """How often a single letter occurs in a text: count the times it appears."""
    if len(letter) != 1 or not letter.isalpha():
        raise ValueError(f"expected a single letter, got {letter!r}")
    return text.lower().count(letter.lower())


@text.tool(
    draw=_swap,
    wordings=(
        'In "{text}", replace "{old}" with "{new}".',
        'Replace the word "{old}" by "{new}" in this text: "{text}"',
        'Please replace "{old}" in "{text}" by "{new}".',
        'In "{text}", the word "{new}" should replace "{old}".',
        'Take "{text}" and replace the word "{old}" with "{new}".',
        'I want the word "{old}" replaced with "{new}": "{text}"',
        'Swap "{old}" for "{new}" in "{text}".',
    ),
    held_out=(
        '"{text}": replace the word "{old}" by "{new}".',
        'Let "{new}" replace "{old}" in "{text}".',
    ),
    answer=lambda a, r: f"Here it is: {r}",
)
def replace_word(world: World, text: str, old: str, new: str) -> str:
    """Replace a word in a text: swap the old one for a new one."""
    replaced, count = re.subn(rf"\b{re.escape(old)}\b", lambda found: new, text)
    if count == 0:
        raise LookupError(f"the word '{old}' does not occur in the text")
    return replaced


_CASES = (
    Worded("upper", "upper case", "capitals"),
    Worded("lower", "lower case"),
    Worded("title", "title case"),
)


@text.tool(
    draw=lambda d: {"text": d.pick(SENTENCES).capitalize(), "case": d.pick(_CASES)},
    wordings=(
        'Change "{text}" to {case}.',
        'Change the case of "{text}" to {case}, please.',
        'Please change the case of this text to {case}: "{text}"',
        'The headline "{text}" has the wrong case. Make it {case}.',
        'Can you change "{text}" into {case} for me?',
        'I need "{text}" changed to {case}.',
        'Write "{text}" in {case}.',
    ),
    held_out=(
        'Please change "{text}" so that it stands in {case}.',
        'Set the case of "{text}" to {case}.',
    ),
    answer=lambda a, r: f"Here it is: {r}",
)
def change_case(world: World, text: str, case: Literal["upper", "lower", "title"]) -> str:
    """Change the case of a text to upper case (capitals), lower case or title case."""
    _words(text)
    return {"upper": text.upper(), "lower": text.lower(), "title": text.title()}[case]


@text.tool(
    draw=_sentence,
    wordings=(
        'Reverse the text "{text}".',
        'Reverse "{text}" for me.',
        'What does the text "{text}" look like in reverse?',
        'How does "{text}" read in reverse?',
        'I want this text reversed: "{text}"',
        '"{text}": please spell that in reverse.',
        'Spell "{text}" backwards.',
    ),
    held_out=(
        'Can you reverse "{text}"?',
        'Read me the text "{text}" in reverse.',
    ),
    answer=lambda a, r: f"Backwards: {r}",
)
def reverse_text(world: World, text: str) -> str:
    """Reverse a text: spell it backwards, from its end to its start."""
    _words(text)
    return text[::-1]


@text.tool(
    draw=lambda d: {"word": d.pick(WORDS)},
    wordings=(
        "Is {word} a palindrome?",
        "Check whether {word} is a palindrome.",
        "Would you call {word} a palindrome?",
        "{word}: palindrome or not?",
        "Is it true that {word} makes a palindrome?",
        "I wonder if {word} is a palindrome.",
        "Does {word} read the same in both directions?",
    ),
    held_out=(
        "Is the word {word} a palindrome?",
        "Can {word} be called a palindrome?",
    ),
    answer=lambda a, r: f"{a['word']} is {'' if r else 'not '}a palindrome.",
)
def is_palindrome(world: World, word: str) -> bool:
    """Check for a palindrome: whether a word reads the same in both directions."""
    if not word.isalpha():
        raise ValueError(f"{word!r} is not a single word")
    return word.lower() == word.lower()[::-1]


text.chain(
    ("replace_word", lambda s, r: {"text": s["text"], "old": s["old"], "new": s["new"]}),
    ("count_characters", lambda s, r: {"text": r[0]}),
    draw=_swap,
    wordings=(
        'Replace "{old}" with "{new}" in "{text}" first, then count the characters.',
        'With the word "{old}" replaced by "{new}" in "{text}", how many characters does it have?',
        'First replace "{old}" by "{new}" in "{text}"; then I need the number of characters.',
    ),
    held_out=('Replace the word "{old}" with "{new}" in "{text}"; how many characters has it then?',),
)
text.chain(
    ("replace_word", lambda s, r: {"text": s["text"], "old": s["old"], "new": s["new"]}),
    ("change_case", lambda s, r: {"text": r[0], "case": s["case"]}),
    draw=lambda d: {**_swap(d), "case": d.pick(_CASES)},
    wordings=(
        'Replace "{old}" with "{new}" in "{text}", then change all of it to {case}.',
        'First replace the word "{old}" by "{new}" in "{text}"; then change the case to {case}.',
        'Let "{new}" replace "{old}" in "{text}" and change the outcome to {case}.',
    ),
    held_out=('In "{text}", replace the word "{old}" with "{new}", and afterwards change that to {case}.',),
)
text.small_talk = (
    ("What is an adjective?", "A word that describes a noun, such as 'green' or 'quiet'."),
    ("Which letter is the most frequent in English?", "The letter e."),
    ("What's a haiku?", "A short Japanese poem with lines of five, seven and five syllables."),
    ("Should I use commas before 'and' in a list?", "Both are correct; just be consistent."),
)
text.unsupported_requests = (
    "Publish my novel in {city} before {day}.",
    "Record my voice while I read a poem.",
    "Send a hand-written letter to {person}.",
    "Bind {number} copies of my thesis in leather.",
)
