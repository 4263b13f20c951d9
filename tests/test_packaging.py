"""What is published: the wheel's contents and its metadata, and the names that users import."""

import inspect
import subprocess
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from importlib import import_module
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
PUBLIC_MODULES = ["aioconcurrent", "aioconcurrent.http", "aioconcurrent.sync"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return ZipFile(next(folder.glob("*.whl")))


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_is_typed_and_brings_its_licence(wheel: ZipFile) -> None:
    assert "aioconcurrent/py.typed" in wheel.namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_the_wheel_brings_the_templates_of_the_pages(wheel: ZipFile) -> None:
    folder = "aioconcurrent/report/templates"
    assert {name for name in wheel.namelist() if name.startswith(folder)} == {
        f"{folder}/{name}" for name in ("index.html", "page.html", "page.css", "page.js")
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel: ZipFile, metadata: Message) -> None:
    top = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    assert top == {"aioconcurrent", f"aioconcurrent-{metadata['Version']}.dist-info"}


def test_the_metadata_is_what_an_installer_reads(metadata: Message) -> None:
    assert metadata["Version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    required = [line.lower().partition(">=") for line in metadata.get_all("Requires-Dist", [])]
    always = {name for name, _, rest in required if "extra ==" not in rest}
    assert always == {"anyio", "cloudpickle", "django", "rich", "sqlglot", "tblib", "time-machine"}
    assert {name for name, _, rest in required if "extra == 'dask'" in rest} == {"distributed"}


def test_the_changelog_has_an_entry_for_this_version(metadata: Message) -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert any(metadata["Version"] in heading for heading in headings)


@pytest.mark.parametrize("module_name", PUBLIC_MODULES)
def test_every_public_name_exists_and_is_documented(module_name: str) -> None:
    module = import_module(module_name)
    assert module.__all__
    undocumented = [name for name in module.__all__ if not inspect.getdoc(getattr(module, name))]
    assert not undocumented
