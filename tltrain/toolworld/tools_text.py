"""Small jobs on a piece of text."""

from __future__ import annotations

import re
from typing import Literal

from tltrain.toolworld.service import Draw, Said, Service, Slots
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


def _sentence(d: Draw) -> Slots:
    return {"text": d.pick(SENTENCES)}


def _swap(d: Draw) -> Slots:
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
    asks=(
        'How many words does "{text}" have?',
        'Of how many words does this consist: "{text}"',
        'I may write ten words at most. How many are in "{text}"?',
        'What\'s the number of words in "{text}"?',
        '"{text}": how many words is that?',
        'Is "{text}" a long sentence? Tell me how many words there are.',
    ),
    held_out=('The number of words in "{text}", please.', 'How many words did I use in "{text}"?'),
    answer=lambda a, r: f"It has {r} words.",
)
def count_words(world: World, text: str) -> int:
    """How many words a text has: the number of words, not of letters."""
    return len(_words(text))


@text.tool(
    draw=_sentence,
    asks=(
        'How many characters does "{text}" have, spaces included?',
        'How long is "{text}" in characters?',
        'Will "{text}" fit into 40 characters? How many are there?',
        'I need the number of letters and spaces in "{text}".',
        '"{text}": what is its length in characters?',
        'A sign has room for 50 characters. How many does "{text}" need?',
    ),
    held_out=('The length of "{text}" in characters, please.', 'Of how many characters is "{text}" made up?'),
    answer=lambda a, r: f"It has {r} characters.",
)
def count_characters(world: World, text: str) -> int:
    """How many characters long a text is, all letters and spaces included."""
    _words(text)
    return len(text)


@text.tool(
    draw=lambda d: {"text": d.pick(SENTENCES), "letter": d.pick(("a", "e", "i", "o", "n", "r", "t", "s"))},
    asks=(
        'How often does the letter {letter} occur in "{text}"?',
        'How many times is there a {letter} in "{text}"?',
        'In "{text}", how frequent is the letter {letter}?',
        'Find out how many {letter}\'s there are in "{text}".',
        'I wonder how many times {letter} appears in "{text}".',
        'Look at "{text}". How many of its letters are {letter}?',
    ),
    held_out=('How frequently does {letter} show up in "{text}"?', 'Number of times {letter} stands in "{text}"?'),
    answer=lambda a, r: f"The letter {a['letter']} occurs {r} times.",
)
def count_letter(world: World, text: str, letter: str) -> int:
    """How many times one given letter occurs in a text."""
    if len(letter) != 1 or not letter.isalpha():
        raise ValueError(f"expected a single letter, got {letter!r}")
    return text.lower().count(letter.lower())


@text.tool(
    draw=_swap,
    asks=(
        'In "{text}", put "{new}" in place of "{old}".',
        'Write "{text}" with "{new}" instead of "{old}".',
        'Change "{old}" to "{new}" in this sentence: "{text}"',
        'Where it says "{old}", I\'d like "{new}": "{text}"',
        'Exchange "{old}" for "{new}" in "{text}".',
        'Take "{text}" and turn "{old}" into "{new}".',
    ),
    held_out=('"{text}": swap "{old}" for "{new}".', 'Let "{new}" stand where "{old}" is in "{text}".'),
    answer=lambda a, r: f"Here it is: {r}",
)
def replace_word(world: World, text: str, old: str, new: str) -> str:
    """Change one word to another in a text: the new instead of the old."""
    replaced, count = re.subn(rf"\b{re.escape(old)}\b", lambda found: new, text)
    if count == 0:
        raise LookupError(f"the word '{old}' does not occur in the text")
    return replaced


_CASES = (
    Said("upper", "capital letters", "capitals only"),
    Said("lower", "small letters", "lower case"),
    Said("title", "title case"),
)


@text.tool(
    draw=lambda d: {"text": d.pick(SENTENCES).capitalize(), "case": d.pick(_CASES)},
    asks=(
        'Write "{text}" in {case}.',
        'I need "{text}" in {case}.',
        'Set "{text}" in {case}, please.',
        'Put the headline "{text}" into {case}.',
        'Can I have "{text}" in {case}?',
        'The sign painter wants {case}: "{text}"',
    ),
    held_out=('Turn "{text}" into {case}.', 'Give me "{text}", but in {case}.'),
    answer=lambda a, r: f"Here it is: {r}",
)
def change_case(world: World, text: str, case: Literal["upper", "lower", "title"]) -> str:
    """Write a text in capitals, in small letters or in title case."""
    _words(text)
    return {"upper": text.upper(), "lower": text.lower(), "title": text.title()}[case]


@text.tool(
    draw=_sentence,
    asks=(
        'Write "{text}" backwards.',
        'What is "{text}" from back to front?',
        'Spell "{text}" starting with its last letter.',
        'Turn "{text}" around, letter by letter.',
        'How does "{text}" read in a mirror, last letter first?',
        'I want "{text}" with all letters in the opposite order.',
    ),
    held_out=('"{text}" from the last letter to the first, please.', 'How does "{text}" look back to front?'),
    answer=lambda a, r: f"Backwards: {r}",
)
def reverse_text(world: World, text: str) -> str:
    """Write a text backwards, letter by letter from back to front."""
    _words(text)
    return text[::-1]


@text.tool(
    draw=lambda d: {"word": d.pick(WORDS)},
    asks=(
        "Does {word} read the same in both directions?",
        "Is {word} a palindrome?",
        "If I read {word} from the right, is it the same?",
        "Check whether {word} is symmetrical, letter for letter.",
        "Is it true that {word} stays the same from back to front?",
        "{word}: same forwards and backwards?",
    ),
    held_out=("Would {word} be unchanged when read from the end?", "Can {word} be called a palindrome?"),
    answer=lambda a, r: f"{a['word']} is {'' if r else 'not '}a palindrome.",
)
def is_palindrome(world: World, word: str) -> bool:
    """Check whether a word is a palindrome, reading the same in both directions."""
    if not word.isalpha():
        raise ValueError(f"{word!r} is not a single word")
    return word.lower() == word.lower()[::-1]


text.chain(
    ("replace_word", lambda s, r: {"text": s["text"], "old": s["old"], "new": s["new"]}),
    ("count_characters", lambda s, r: {"text": r[0]}),
    draw=_swap,
    asks=(
        'Put "{new}" in place of "{old}" in "{text}" and tell me how many characters the outcome has.',
        'If "{old}" becomes "{new}" in "{text}", how many characters long is it then?',
        'First change "{old}" to "{new}" in "{text}", then give me its length in characters.',
    ),
    held_out=('Swap "{old}" for "{new}" in "{text}"; what is the new length in characters?',),
)
text.chain(
    ("replace_word", lambda s, r: {"text": s["text"], "old": s["old"], "new": s["new"]}),
    ("change_case", lambda s, r: {"text": r[0], "case": s["case"]}),
    draw=lambda d: {**_swap(d), "case": d.pick(_CASES)},
    asks=(
        'Put "{new}" in place of "{old}" in "{text}", then set all of it in {case}.',
        'First turn "{old}" into "{new}" in "{text}"; after that I need the outcome in {case}.',
        'Exchange "{old}" for "{new}" in "{text}" and write the outcome in {case}.',
    ),
    held_out=('Let "{new}" stand where "{old}" is in "{text}", and afterwards give me that in {case}.',),
)
text.talk = (
    ("What is an adjective?", "A word that describes a noun, such as 'green' or 'quiet'."),
    ("Which letter is the most frequent in English?", "The letter e."),
    ("What's a haiku?", "A short Japanese poem with lines of five, seven and five syllables."),
    ("Should I use commas before 'and' in a list?", "Both are correct; just be consistent."),
)
text.beyond = (
    "Publish my novel in {city} before {day}.",
    "Record my voice while I read a poem.",
    "Send a hand-written letter to {person}.",
    "Bind {number} copies of my thesis in leather.",
)
