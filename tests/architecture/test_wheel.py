"""What is built is what works: the wheel carries all that it needs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built without fetching anything."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.parametrize(
    "name",
    [
        "coordinator/migrations/env.py",
        "coordinator/migrations/script.py.mako",
        "coordinator/migrations/versions/0001_pre_first_schema.py",
        "coordinator/saga_yaml/saga.schema.json",
        "participant_sdk/py.typed",
        "protos/v1/coordinator.proto",
        "protos/v1/coordinator_pb2.py",
    ],
)
def test_wheel_carries(wheel: Path, name: str) -> None:
    """Migrations, schema, protos and the typing marker are inside."""
    assert name in zipfile.ZipFile(wheel).namelist()


def test_wheel_carries_nothing_else(wheel: Path) -> None:
    """Neither tests nor examples are installed beside the packages."""
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "coordinator",
        "participant_sdk",
        "protos",
    }


def test_installed_wheel_creates_a_database(wheel: Path, tmp_path: Path) -> None:
    """Outside of the checkout, the installed command finds its migrations."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    url = f"sqlite:///{tmp_path}/new.db"
    run = subprocess.run(
        [sys.executable, "-P", "-m", "coordinator", "db", "upgrade", "--db", url],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert "0001_pre_first_schema" in run.stdout
    assert (tmp_path / "new.db").stat().st_size > 0
