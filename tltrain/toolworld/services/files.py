"""A shared drive with small text files."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Service, Slots, ValueSampler
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
    return world.require(absence, "SELECT * FROM files WHERE path = ?", path)


def _check_folder(folder: str) -> None:
    if folder not in FOLDERS:
        raise NotADirectoryError(f"cannot open '{folder}': No such directory")


def _check_free(world: World, path: str) -> None:
    if world.first("SELECT path FROM files WHERE path = ?", path):
        raise FileExistsError(f"cannot create '{path}': File exists")


def _path(d: ValueSampler) -> Slots:
    return d.row("SELECT path FROM files")


@files.tool(
    draw=lambda d: {"folder": d.pick(FOLDERS), "ending": d.pick(ENDINGS)},
    wordings=(
        "List the files in {folder}.",
        "Can you list the {ending} documents inside {folder}?",
        "I need a list of what the folder {folder} contains.",
        "List all contents of {folder}.",
        "Which {ending} files are in {folder}? A list, please.",
        "Show me the list of documents inside {folder}.",
        "I lost track of {folder}; list its contents.",
        "What files are kept inside {folder}?",
    ),
    held_out=(
        "Please list the contents of {folder}.",
        "Just list the {ending} files inside {folder}.",
    ),
    answer=lambda a, r: f"In {a['folder']}: {', '.join(r) or 'nothing'}.",
)
def list_files(world: World, folder: Folder, ending: Ending | None = None) -> list[str]:
    """List the documents inside a folder: its contents, optionally only one ending."""
    _check_folder(folder)
    sql = "SELECT name FROM files WHERE folder = ? AND name LIKE ? ORDER BY name"
    return [row["name"] for row in world.all(sql, folder, f"%{ending or ''}")]


@files.tool(
    draw=lambda d: d.row("SELECT DISTINCT owner FROM files"),
    wordings=(
        "Which files have {owner} as their owner?",
        "{owner} is leaving. What on the drive is owned by them?",
        "List the files whose owner is {owner}.",
        "Does {owner} own anything on the shared drive?",
        "What else on the drive is {owner} the owner of?",
        "Owner {owner}: all their files, please.",
        "What on the drive belongs to {owner}?",
    ),
    held_out=(
        "Show the files owned by this person: {owner}.",
        "Which files does {owner} own?",
    ),
    answer=lambda a, r: f"{a['owner']} owns {', '.join(r)}.",
)
def list_files_by_owner(world: World, owner: Annotated[str, "full name"]) -> list[str]:
    """Files on the drive owned by one person: what belongs to that owner."""
    rows = world.all("SELECT path FROM files WHERE owner = ? ORDER BY path", owner)
    if not rows:
        raise LookupError(f"invalid user: '{owner}'")
    return [row["path"] for row in rows]


@files.tool(
    draw=lambda d: {"name": d.row("SELECT name FROM files")["name"]},
    wordings=(
        "Find {name} on the drive.",
        "I can't find {name}. What's its full path?",
        "Can you find the path of {name}?",
        "Find out in which folder {name} is located.",
        "Where is {name}? I can't find that file.",
        "Help me find {name}; I need its folder.",
        "I put {name} somewhere. What's the path?",
    ),
    held_out=(
        "Where on the drive can I find {name}?",
        "Find the folder where {name} is kept.",
    ),
    answer=lambda a, r: f"{a['name']} is at {r}.",
)
def find_file(world: World, name: Annotated[str, "like alpha.txt"]) -> str:
    """Find a file by name on the drive: its folder and full path."""
    row = world.require(f"'{name}': No such file", "SELECT path FROM files WHERE name = ?", name)
    return str(row["path"])


@files.tool(
    draw=_path,
    wordings=(
        "Read {path} to me.",
        "Open the file {path} and read what's written there.",
        "I want to read {path}.",
        "Please read out what {path} says.",
        "Can you read {path} for me? What does it say?",
        "I need to read what is written in {path}.",
        "What does {path} say? Open it.",
    ),
    held_out=(
        "Open {path}; I'd like to read it.",
        "Read me what it says in {path}, please.",
    ),
    answer=lambda a, r: f"It says: {r.replace(chr(10), ' / ')}",
)
def read_file(world: World, path: Path) -> str:
    """Read a file: open it and see what is written there, what it says."""
    return str(_file(world, path)["text"])


@files.tool(
    draw=_path,
    wordings=(
        "Give me the info on {path}: size and date.",
        "Read the info of {path}: whose is it?",
        "What size is {path}? Check the file info.",
        "When was {path} last changed? The info should say it.",
        "I need the info on {path}, above all its size in KB.",
        "Read me the size from the info of {path}.",
        "Info on {path}, please: date of the last change.",
        "How big is {path}, in KB?",
    ),
    held_out=(
        "Show the info for {path}: how many KB?",
        "Which date of change does the info of {path} give?",
    ),
    answer=lambda a, r: f"{a['path']}: {r['kb']} KB, owned by {r['owner']}, changed on {r['changed']}.",
)
def read_file_info(world: World, path: Path) -> Row:
    """Info on a file: size in KB, date of the last change, whose it is."""
    row = _file(world, path)
    return {key: row[key] for key in ("kb", "owner", "changed")}


@files.tool(
    draw=lambda d: {**_path(d), "folder": d.pick(FOLDERS)},
    wordings=(
        "Move {path} to {folder}.",
        "{path} should move to the folder {folder}.",
        "I want {path} moved to {folder}.",
        "Move the file {path} out of its old place, into {folder}.",
        "{folder} is the new place for {path}; move it there.",
        "{path} is in the wrong folder, have it moved to {folder}.",
        "Let's move {path}; from now on it lives in {folder}.",
    ),
    held_out=(
        "Could you move {path} over to {folder}?",
        "{path} has to be moved into {folder}.",
    ),
    answer=lambda a, r: f"Done, the new path is {r}.",
)
def move_file(world: World, path: Path, folder: Folder) -> str:
    """Move a file to a new place: out of its old folder, into another."""
    name = _file(world, path)["name"]
    _check_folder(folder)
    target = f"{folder}/{name}"
    if target != path:
        _check_free(world, target)
    world.run("UPDATE files SET folder = ?, path = ? WHERE path = ?", folder, target, path)
    return target


@files.tool(
    draw=lambda d: {**_path(d), "folder": d.pick(FOLDERS)},
    wordings=(
        "Copy {path} to {folder}.",
        "I need a copy of {path} in {folder}; keep the original.",
        "{folder} should have a copy of {path} too.",
        "Put one more copy of {path} into {folder}.",
        "Please copy the file {path} into {folder} as well.",
        "Can you copy {path}? The duplicate goes into {folder}.",
        "Duplicate {path} into {folder}.",
    ),
    held_out=(
        "Make a copy of {path} under {folder}.",
        "I'd like to keep {path} and copy it to {folder}.",
    ),
    answer=lambda a, r: f"There is now a copy at {r}.",
)
def copy_file(world: World, path: Path, folder: Folder) -> str:
    """Copy a file: keep the original and make a duplicate in a folder."""
    row = _file(world, path)
    _check_folder(folder)
    target = f"{folder}/copy-of-{row['name']}"
    _check_free(world, target)
    values = (target, folder, f"copy-of-{row['name']}", row["text"], row["owner"], row["changed"], row["kb"])
    world.run("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", *values)
    return target


@files.tool(
    draw=_path,
    wordings=(
        "Delete {path}.",
        "{path} can be deleted, nobody needs it.",
        "Please delete the file {path} for good.",
        "Could you delete {path} for me?",
        "{path} must not stay. Delete it at once.",
        "I want to have {path} deleted.",
        "Remove {path} for good.",
    ),
    held_out=(
        "{path} is useless, delete it.",
        "Delete {path} from the drive, please.",
    ),
    answer=lambda a, r: f"{a['path']} is deleted.",
)
def delete_file(world: World, path: Path) -> str:
    """Delete a file for good, or remove it when nobody needs it."""
    _file(world, path)
    world.run("DELETE FROM files WHERE path = ?", path)
    return f"removed '{path}'"


_NAME = "SELECT name FROM files"

files.chain(
    ("find_file", lambda s, r: {"name": s["name"]}),
    ("read_file", lambda s, r: {"path": r[0]}),
    draw=lambda d: d.row(_NAME),
    wordings=(
        "Find the file {name} first, then read what it says.",
        "I only know the name, {name}. Find its path and read it to me.",
        "I want to read {name}, but I can't find it. Where is it?",
        "Find {name} on the drive and read out what is written there.",
    ),
    held_out=("Find {name} first: I'd like to read what it says.",),
)
files.chain(
    ("find_file", lambda s, r: {"name": s["name"]}),
    ("move_file", lambda s, r: {"path": r[0], "folder": s["folder"]}),
    draw=lambda d: {**d.row(_NAME), "folder": d.pick(FOLDERS)},
    wordings=(
        "Find the file {name} first, then move it to {folder}.",
        "I only know the name, {name}. Find its path and move it to {folder}.",
        "{name} is lying around somewhere. Find it and move it to {folder}.",
        "Move {name} to {folder}; you have to find its path first.",
    ),
    held_out=("Wherever you find {name} on the drive, move it to {folder}.",),
)
files.chain(
    ("list_files_by_owner", lambda s, r: {"owner": s["owner"]}),
    ("read_file_info", lambda s, r: {"path": r[0][0]}),
    draw=lambda d: d.row("SELECT DISTINCT owner FROM files"),
    wordings=(
        "List the files of the owner {owner}, then read the info of the first.",
        "Which files does {owner} own? Read me the size info of the first.",
        "Of the files whose owner is {owner}, read the first one's info: how many KB?",
    ),
    held_out=("Find the files owned by {owner} and read the first one's info: what size?",),
)
files.small_talk = (
    ("What does PDF stand for?", "Portable Document Format."),
    ("How many bytes are in a kilobyte?", "1,000 in the decimal sense; 1,024 in a kibibyte."),
    ("Why should I make backups?", "Because disks fail and people make mistakes."),
    ("What is a CSV file?", "A table as plain text, with commas between the values."),
)
files.unsupported_requests = (
    "Print {number} posters and hang them up in {city}.",
    "Recover the photos from {person}'s broken phone.",
    "Scan the paper letters on my desk.",
    "Play some music while I work.",
)
