"""A shared drive with small text files."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Draw, Service, Slots
from tltrain.toolworld.styles import SHELL
from tltrain.toolworld.world import DAYS, Row, World, people

FOLDERS = (
    "/reports",
    "/contracts",
    "/photos",
    "/logs",
    "/drafts",
    "/archive",
    "/invoices",
    "/music",
    "/plans",
    "/team",
)
STEMS = ("alpha", "bravo", "delta", "echo", "harbor", "island", "jupiter", "lemon", "meadow", "nova", "orbit", "pearl")
ENDINGS = (".txt", ".csv", ".log", ".md")
LINES = (
    *("No errors found in this run.", "Total: 412", "The budget was approved.", "Error count: 0", "Meet again in May."),
    *("status=ok", "Draft, please comment.", "1 warning, 0 errors", "See the annex.", "Signed by both sides."),
)
Path = Annotated[str, "like /reports/alpha.txt"]
Folder = Annotated[str, "like /reports"]
Ending = Literal[".txt", ".csv", ".log", ".md"]


def _tables(world: World, rng: Random) -> None:
    owners = people(rng, 15)
    names = rng.sample([f"{stem}{ending}" for stem in STEMS for ending in ENDINGS], 48)
    rows = []
    for number, name in enumerate(names):
        text = "\n".join(rng.sample(LINES, rng.randint(1, 3)))
        folder, owner = FOLDERS[number % len(FOLDERS)], rng.choice(owners)
        rows.append((f"{folder}/{name}", folder, name, text, owner, rng.choice(DAYS), rng.randint(1, 900)))
    world.create("files", "path PRIMARY KEY, folder, name, text, owner, changed, kb", rows)


files = Service("files", "files on the shared drive", SHELL, _tables)


def _file(world: World, path: str) -> Row:
    absence = f"cannot access '{path}': No such file or directory"
    return world.need(absence, "SELECT * FROM files WHERE path = ?", path)


def _check_folder(folder: str) -> None:
    if folder not in FOLDERS:
        raise NotADirectoryError(f"cannot open '{folder}': No such directory")


def _path(d: Draw) -> Slots:
    return d.row("SELECT path FROM files")


@files.tool(
    draw=lambda d: {"folder": d.pick(FOLDERS), "ending": d.pick(ENDINGS)},
    asks=(
        "Which {ending} documents are in {folder}?",
        "Show me only what ends in {ending} under {folder}.",
        "What is in {folder}?",
        "Show me the contents of the folder {folder}.",
        "Which documents are lying in {folder}?",
        "What can I find under {folder}?",
        "I lost track of what we keep in {folder}. What's there?",
        "Look into {folder} and tell me what it holds.",
    ),
    held_out=(
        "Which documents does {folder} contain?",
        "Have a look inside {folder}, please.",
        "Just the {ending} ones in {folder}, please: what is there?",
    ),
    answer=lambda a, r: f"In {a['folder']}: {', '.join(r) or 'nothing'}.",
)
def list_files(world: World, folder: Folder, ending: Ending | None = None) -> list[str]:
    """Documents in a folder: the file names, optionally only those with one ending."""
    _check_folder(folder)
    sql = "SELECT name FROM files WHERE folder = ? AND name LIKE ? ORDER BY name"
    return [row["name"] for row in world.all(sql, folder, f"%{ending or ''}")]


@files.tool(
    draw=lambda d: d.row("SELECT DISTINCT owner FROM files"),
    asks=(
        "What has {owner} stored on the drive?",
        "Which documents belong to {owner}?",
        "{owner} is leaving. What on the drive is theirs?",
        "Show everything owned by {owner}.",
        "Does {owner} own anything on the shared drive?",
        "Where are {owner}'s documents?",
    ),
    held_out=("Which things on the drive are {owner}'s?", "What does {owner} own here?"),
    answer=lambda a, r: f"{a['owner']} owns {', '.join(r)}.",
)
def list_files_by_owner(world: World, owner: Annotated[str, "full name"]) -> list[str]:
    """All documents on the drive that belong to one person: their paths."""
    rows = world.all("SELECT path FROM files WHERE owner = ? ORDER BY path", owner)
    if not rows:
        raise LookupError(f"invalid user: '{owner}'")
    return [row["path"] for row in rows]


@files.tool(
    draw=lambda d: {"name": d.row("SELECT name FROM files")["name"]},
    asks=(
        "In which folder is {name}?",
        "I can't find {name}. Where is it?",
        "What's the full path of {name}?",
        "Where did I put {name}?",
        "Search the drive for {name}.",
        "{name} must be somewhere. Which folder?",
    ),
    held_out=("Where on the drive is {name} kept?", "Locate {name} for me."),
    answer=lambda a, r: f"{a['name']} is at {r}.",
)
def find_file(world: World, name: Annotated[str, "like alpha.txt"]) -> str:
    """Search the drive for a file by name: its folder and full path."""
    row = world.need(f"'{name}': No such file", "SELECT path FROM files WHERE name = ?", name)
    return str(row["path"])


@files.tool(
    draw=_path,
    asks=(
        "What does {path} say?",
        "Show me the text of {path}.",
        "Open {path} and tell me what's written there.",
        "What is written in {path}?",
        "I need the wording of {path}.",
        "Print {path} for me.",
    ),
    held_out=("What can one read in {path}?", "Let me see the text inside {path}."),
    answer=lambda a, r: f"It says: {r.replace(chr(10), ' / ')}",
)
def read_file(world: World, path: Path) -> str:
    """Open a file and show what is written in it, its text."""
    return str(_file(world, path)["text"])


@files.tool(
    draw=_path,
    asks=(
        "How big is {path}?",
        "Who owns {path}, and when was it changed?",
        "When did somebody last edit {path}?",
        "Whose is {path}?",
        "What's the size of {path} in KB?",
        "Is {path} recent? Give me the date of the last change.",
    ),
    held_out=("On what date was {path} modified?", "How many KB does {path} take up?"),
    answer=lambda a, r: f"{a['path']} has {r['kb']} KB, belongs to {r['owner']} and was changed on {r['changed']}.",
)
def read_file_info(world: World, path: Path) -> Row:
    """Facts about a file: how big in KB, who owns it, when last changed."""
    row = _file(world, path)
    return {key: row[key] for key in ("kb", "owner", "changed")}


@files.tool(
    draw=lambda d: {**_path(d), "folder": d.pick(FOLDERS)},
    asks=(
        "Put {path} into {folder} instead of where it is.",
        "{path} belongs in {folder}. Please take it there.",
        "Shift {path} to the folder {folder}.",
        "Please relocate {path} to {folder}.",
        "{path} is in the wrong place, it should be in {folder}.",
        "From now on {path} should live in {folder}.",
    ),
    held_out=(
        "Transfer {path} over to {folder}; it shouldn't stay where it is.",
        "Bring {path} to its new place, {folder}.",
    ),
    answer=lambda a, r: f"Done, the new path is {r}.",
)
def move_file(world: World, path: Path, folder: Folder) -> str:
    """Move a file out of its present place into another folder."""
    name = _file(world, path)["name"]
    _check_folder(folder)
    world.run("UPDATE files SET folder = ?, path = ? WHERE path = ?", folder, f"{folder}/{name}", path)
    return f"{folder}/{name}"


@files.tool(
    draw=lambda d: {**_path(d), "folder": d.pick(FOLDERS)},
    asks=(
        "I need a second {path} in {folder}; keep the original.",
        "Duplicate {path} into {folder}.",
        "Leave {path} where it is, but have the same thing in {folder} too.",
        "Put a duplicate of {path} into {folder}.",
        "Please replicate {path} in {folder}.",
        "Also store {path} in {folder}, without removing it here.",
    ),
    held_out=("Make a duplicate of {path} under {folder}.", "I'd like {path} to exist in {folder} as well."),
    answer=lambda a, r: f"There is now a copy at {r}.",
)
def copy_file(world: World, path: Path, folder: Folder) -> str:
    """Put a duplicate of a file into another folder and keep the original."""
    row = _file(world, path)
    _check_folder(folder)
    target = f"{folder}/copy-of-{row['name']}"
    values = (target, folder, f"copy-of-{row['name']}", row["text"], row["owner"], row["changed"], row["kb"])
    world.run("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", *values)
    return target


@files.tool(
    draw=_path,
    asks=(
        "{path} can go, nobody needs it.",
        "Get rid of {path}.",
        "Throw {path} away, please.",
        "Remove {path} from the drive for good.",
        "Please wipe {path}.",
        "We must not keep {path} any longer. Erase it.",
    ),
    held_out=("{path} is useless, throw it out.", "Erase {path}, please."),
    answer=lambda a, r: f"{a['path']} is deleted.",
)
def delete_file(world: World, path: Path) -> str:
    """Remove a file from the drive for good, when nobody needs it."""
    _file(world, path)
    world.run("DELETE FROM files WHERE path = ?", path)
    return f"removed '{path}'"


_NAME = "SELECT name FROM files"

files.chain(
    ("find_file", lambda s, r: {"name": s["name"]}),
    ("read_file", lambda s, r: {"path": r[0]}),
    draw=lambda d: d.row(_NAME),
    asks=(
        "What is written in {name}? I don't know where it is.",
        "Find {name} and show me its text.",
        "I need to know what {name} says, wherever it is.",
        "Look for {name} on the drive and open it.",
    ),
    held_out=("Track down {name} and tell me what it says.",),
)
files.chain(
    ("find_file", lambda s, r: {"name": s["name"]}),
    ("move_file", lambda s, r: {"path": r[0], "folder": s["folder"]}),
    draw=lambda d: {**d.row(_NAME), "folder": d.pick(FOLDERS)},
    asks=(
        "Find {name}, wherever it is, and put it into {folder}.",
        "{name} is lying around somewhere. It should be in {folder} instead.",
        "Look for {name} and shift it to {folder}.",
    ),
    held_out=("Wherever {name} is now, relocate it to {folder}.",),
)
files.chain(
    ("list_files_by_owner", lambda s, r: {"owner": s["owner"]}),
    ("read_file_info", lambda s, r: {"path": r[0][0]}),
    draw=lambda d: d.row("SELECT DISTINCT owner FROM files"),
    asks=(
        "How big is the first document in {owner}'s list?",
        "List what {owner} owns and tell me when the first of it was changed.",
        "Take the first document belonging to {owner}: when was it last edited?",
    ),
    held_out=("Of the things {owner} owns, how many KB does the first take up?",),
)
files.talk = (
    ("What does PDF stand for?", "Portable Document Format."),
    ("How many bytes are in a kilobyte?", "1,000 in the decimal sense; 1,024 in a kibibyte."),
    ("Why should I make backups?", "Because disks fail and people make mistakes."),
    ("What is a CSV file?", "A table as plain text, with commas between the values."),
)
files.beyond = (
    "Print {number} posters and hang them up in {city}.",
    "Recover the photos from {person}'s broken phone.",
    "Scan the paper letters on my desk.",
    "Play some music while I work.",
)
