"""Members of archives: only those named are written, and only below the folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tltrain.errors import DataError
from tltrain.wheels import extract

LINK = 0o120777 << 16


def archive(folder: Path, *members: str | zipfile.ZipInfo) -> Path:
    path = folder / "some.whl"
    with zipfile.ZipFile(path, "w") as written:
        for member in members:
            written.writestr(member, "/etc/passwd")
    return path


def test_only_the_named_members_are_written(tmp_path: Path) -> None:
    path = archive(tmp_path, "data/a.json", "../up.json", "/abs.json", "data/../../up2.json")
    extract(path, ["data/a.json"], tmp_path / "in")
    written = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert written == ["in/data/a.json", "some.whl"]


@pytest.mark.parametrize("name", ["../up.json", "data/../../up.json", "/tmp/abs.json", "..", "."])
def test_a_member_that_climbs_out_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path, name)
    with pytest.raises(DataError, match="would lie outside of the folder"):
        extract(path, [name], tmp_path / "in")
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["some.whl"]


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("data/a.json")
    link.external_attr = LINK
    with pytest.raises(DataError, match=r"data/a\.json is a link, expected a file"):
        extract(archive(tmp_path, link), ["data/a.json"], tmp_path / "in")


def test_a_folder_that_is_a_link_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in" / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="would lie outside of the folder"):
        extract(archive(tmp_path, "data/a.json"), ["data/a.json"], tmp_path / "in")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_files_that_are_no_archives_or_lack_a_member(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.json is not in the archive"):
        extract(archive(tmp_path, "a.json"), ["b.json"], tmp_path / "in")
    (tmp_path / "no.whl").write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be read as a wheel"):
        extract(tmp_path / "no.whl", ["a.json"], tmp_path / "in")
