"""Downloads of public data sets: every file comes from a pinned commit and is verified by SHA-256, where one is known.

The data folder has a subfolder for each set (`rotbench/First_Turn/clean.json`); loaders and `--from` use this layout.
"""

from __future__ import annotations

import http.client
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tltrain.data import RELEASE, RELEASE_FILE
from tltrain.errors import ConfigError, DataError
from tltrain.files import file_sha256, replacing
from tltrain.progress import Progress, counted, no_progress
from tltrain.testsets import bfcl, rotbench, sealtools, toolalpaca, tooleyes
from tltrain.wheels import extract, find_wheel

HOST = "https://raw.githubusercontent.com"
TIMEOUT = 30
"""Seconds without a response from the host before a download fails."""
WHEEL = "bfcl-eval==2026.3.23"
WHEEL_SHA256 = "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
WHEEL_FOLDER = "bfcl_eval/data"


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of a public repository at a pinned commit."""

    repository: str
    commit: str
    folder: str
    files: Mapping[str, str | None]
    """SHA-256 by path relative to that folder, which is also the path in the local folder of the set; None: not known,
    so that the file cannot be verified."""


SOURCES = {
    "rotbench": Source(
        rotbench.REPOSITORY, rotbench.COMMIT, "Data", {f"{split}.json": pin for split, pin in rotbench.PINS.items()}
    ),
    "toolalpaca": Source(
        toolalpaca.REPOSITORY,
        toolalpaca.COMMIT,
        "data",
        {f"{split}.json": pin for split, pin in toolalpaca.PINS.items()},
    ),
    "tooleyes": Source(
        "Junjie-Ye/ToolEyes",
        "c818fcebe017951570a25e552a7984e40093fd52",
        "Test_Data",
        {Path(tooleyes.FILE).name: tooleyes.PIN},
    ),
    "sealtools": Source(
        "fairyshine/Seal-Tools",
        "ce753ecd60ed08dd376984035de531ab8421f1c6",
        "Seal-Tools_Dataset",
        {
            "tool.jsonl": "35e34aaec1f0793c2b5a5dff734cb925837988f59ed0fe4f410d67f3d8375f5c",
            sealtools.TRAIN: "53da12c9fab27e47eba4767ae3625b53bb6474215c38e5033b1fe11e84efacf6",
            sealtools.TESTS["in_domain"]: "330020288948e711846417c2fca9a5980ef0f1adc01ad74dc38cc9ff7142811f",
            sealtools.TESTS["unseen"]: "c2a86a3d3a5270f578e07f39a0973310cbcaec3b8d72166d7be38d21c9720be6",
        },
    ),
    # The training data of the release; its code (code/mae/mae.py) names the file. Pin its digest once it is known.
    RELEASE: Source("Junjie-Ye/TL-Training", "77c875a", "data", {RELEASE_FILE: None}),
}
NAMES = (*SOURCES, "bfcl")


@dataclass(frozen=True, slots=True)
class Fetched:
    """Result of a fetch: the folder of the set, the number of files ready in it, and those missing from `--from`."""

    folder: Path
    ready: int
    missing: tuple[Path, ...] = ()
    unverified: Mapping[Path, str] = field(default_factory=dict)
    """SHA-256 of the files for which none is pinned."""


def fetch(name: str, folder: Path, source: Path | None = None, progress: Progress = no_progress) -> Fetched:
    """Copy or download the files of a data set that `folder` lacks.

    Args:
        name: an element of `NAMES`.
        folder: the folder that contains all data sets.
        source: a folder of the same layout, or a clone of the set's repository, to copy available files from; for BFCL
            a folder with its wheel. None downloads from the public source.
        progress: called after each file.

    Raises:
        ConfigError: the data set or `source` does not exist.
        DataError: a file cannot be downloaded or has another SHA-256, or `source` has none of the files.
    """
    if name not in NAMES:
        raise ConfigError(f"fetch {name}: expected one of {', '.join(NAMES)}")
    if source is not None and not source.is_dir():
        raise ConfigError(f"--from {source}: no such folder")
    if name == "bfcl":
        return _fetch_bfcl(folder / name, source)
    missing, unverified = [], {}
    for path, pin in counted(list(SOURCES[name].files.items()), progress, "files"):
        target, local = folder / name / path, None if source is None else _local(source, name, path)
        if _is_ready(target, pin, source):
            if pin is None:
                unverified[target] = file_sha256(target)
            continue
        if local is not None and not local.is_file():
            missing.append(local)
            continue
        with _opened(_url(SOURCES[name], path), local) as stream:
            _save(stream, target, pin)
        if pin is None:
            unverified[target] = file_sha256(target)
    ready = len(SOURCES[name].files) - len(missing)
    if not ready:
        raise DataError(f"none of the files of {name} was found, for example {missing[0]}", source)
    return Fetched(folder / name, ready, tuple(missing), unverified)


def _local(source: Path, name: str, path: str) -> Path:
    """The file in a folder with the layout of the data folder, or else in a clone of the set's repository."""
    cloned = source / SOURCES[name].folder / path
    return cloned if cloned.is_file() and not (source / name / path).is_file() else source / name / path


def _url(source: Source, path: str) -> str:
    return f"{HOST}/{source.repository}/{source.commit}/{source.folder}/{path}"


@contextmanager
def _opened(url: str, local: Path | None) -> Iterator[BinaryIO]:
    """Open the local copy if a path is given, otherwise the URL."""
    if local is not None:
        with local.open("rb") as stream:
            yield stream
        return
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            yield response
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"cannot download {url}: {reason}; --from DIR takes a local copy") from None


def _save(stream: BinaryIO, target: Path, pin: str | None) -> None:
    """Write the file if its content matches the pinned SHA-256, or if none is pinned."""
    with replacing(target) as temporary:
        with temporary.open("wb") as written:
            shutil.copyfileobj(stream, written)
        if pin is not None:
            _check(temporary, target.name, pin)


def _check(path: Path, name: str, pin: str) -> None:
    if (found := file_sha256(path)) != pin:
        raise DataError(f"{name}: SHA-256 is {found}, expected {pin}: the file is incomplete or of another version")


def _is_ready(path: Path, pin: str | None, source: Path | None) -> bool:
    """Whether the file is there already. One that cannot be verified is copied again if a source is given."""
    if pin is None:
        return path.is_file() and source is None
    return path.is_file() and file_sha256(path) == pin


def _fetch_bfcl(folder: Path, source: Path | None) -> Fetched:
    """BFCL is pinned by split, so either all files of a split are copied or none."""
    splits = {split: [name for pair in bfcl.files(split) for name in pair] for split in bfcl.BFCL.SPLITS}
    if all(_has_split(folder, names, bfcl.PINS[split]) for split, names in splits.items()):
        return Fetched(folder, sum(map(len, splits.values())))
    if source is None or any(source.glob("bfcl_eval-*.whl")):
        with tempfile.TemporaryDirectory(prefix="tltrain-") as temporary:
            wheel = find_wheel(WHEEL, source or Path(temporary), download=source is None)
            _check(wheel, wheel.name, WHEEL_SHA256)
            extract(wheel, (f"{WHEEL_FOLDER}/{name}" for names in splits.values() for name in names), Path(temporary))
            return _copy_bfcl(Path(temporary) / WHEEL_FOLDER, folder, splits)
    return _copy_bfcl(source / "bfcl", folder, splits)


def _copy_bfcl(source: Path, folder: Path, splits: Mapping[str, list[str]]) -> Fetched:
    missing: list[Path] = []
    copied = 0
    for split, names in splits.items():
        absent = [source / name for name in names if not (source / name).is_file()]
        missing += absent
        if absent:
            continue
        if not _has_split(source, names, bfcl.PINS[split]):
            raise DataError(f"the files of bfcl {split} are not those of {WHEEL}", source)
        for name in names:
            with replacing(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)
        copied += len(names)
    if not copied:
        raise DataError(f"no complete split of bfcl was found: {missing[0].name} is missing, for example", source)
    return Fetched(folder, copied, tuple(missing))


def _has_split(folder: Path, names: list[str], pin: str) -> bool:
    files = [folder / name for name in names]
    return all(file.is_file() for file in files) and file_sha256(*files) == pin
