"""The wheel, built from the source archive and installed into an environment of its own, away from the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest
from support.micro import micro_trajectories
from support.standin import save_standin

from tltrain import formats

REPOSITORY = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive, and the wheel that was built from it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, REPOSITORY], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel; what the wheel needs comes from the present environment."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = archives.glob("*.whl")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    without_editable(Path(sysconfig.get_path("purelib")), folder / "needed")
    (packages / "needed.pth").write_text(str(folder / "needed") + "\n")
    return python


def without_editable(packages: Path, linked: Path) -> None:
    """A folder of links to the installed packages, without the editable installation of the repository."""
    linked.mkdir()
    for path in packages.iterdir():
        if "tltrain" not in path.name and path.suffix != ".pth":
            (linked / path.name).symlink_to(path)


def run(python: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`tltrain` of the environment, in a folder; the built-in model is a micro model."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"TLTRAIN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [python.with_name("tltrain"), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_source_archive_has_what_is_needed_to_build_and_test(archives: Path) -> None:
    (path,) = archives.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "mkdocs.yml", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "runs/", "build/"))]


def test_the_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    program = "import sys, tltrain; print(tltrain.__file__); print('\\n'.join(sys.path))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    found = subprocess.run([installed, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True)
    module, *paths = found.stdout.splitlines()
    assert Path(module).is_relative_to(installed.parent.parent), found.stderr
    assert not [path for path in paths if path and (Path(path) / "tltrain" / "pipeline.py").is_file()
                and not Path(path).is_relative_to(installed.parent.parent)]  # fmt: skip


def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    save_standin(tmp_path / "cache")
    done = run(installed, tmp_path, "demo", "--size", "0.02", "--set", "data.size=80")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "runs/demo/scores.json").read_text("utf-8"))
    assert {row["model"] for row in rows} == {"base", "sft", "mae"}
    assert (tmp_path / "runs/demo/report.html").is_file()
    shutil.rmtree(tmp_path / "runs")


def test_the_audit_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    formats.write(micro_trajectories(8), tmp_path / "logs.jsonl")
    done = run(installed, tmp_path, "audit", "logs.jsonl", "--out", "audit")
    assert done.returncode == 0, done.stderr
    assert "2 of 10 calls failed" in done.stdout
    assert (tmp_path / "audit/audit.html").is_file()
