import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aioconcurrent
from aioconcurrent.base.sources import application_line, owner_of_file

ASK = "from aioconcurrent.base.sources import application_line\n"


def function(file: Path, text: str) -> Any:
    """The function `ask` of a module with that text and file."""
    namespace: dict[str, Any] = {}
    exec(compile(ASK + text, str(file), "exec"), namespace)  # noqa: S102 - a file in these places cannot be written
    return namespace["ask"]


def test_a_line_is_told_with_its_code() -> None:
    told = application_line()  # as it stands here
    assert told is not None
    place, _, code = told.partition(": ")
    assert place.startswith("core/test_sources.py:")
    assert place.endswith(" in test_a_line_is_told_with_its_code")
    assert code == "told = application_line()  # as it stands here"


def test_a_line_whose_file_is_gone_is_told_without() -> None:
    ask = function(Path("/nowhere/shop/gone.py"), "def ask():\n    return application_line()\n")
    assert ask() == "shop/gone.py:3 in ask"


def test_the_application_comes_before_libraries_that_it_calls() -> None:
    library = Path(sysconfig.get_path("purelib"), "library", "core.py")
    ask = function(library, "def ask():\n    return application_line()\n")
    assert "in test_the_application_comes_before" in ask()


def test_a_library_called_by_itself_is_told_and_django_is_not() -> None:
    """In a thread, where nothing of this file is below it."""
    folder = Path(sysconfig.get_path("purelib"))
    django = function(folder / "django" / "db.py", "def ask():\n    return application_line()\n")
    ask = function(folder / "library" / "core.py", "def ask(go_on):\n    return go_on()\n")
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(ask, django).result() == "library/core.py:3 in ask"
        assert threads.submit(django).result() is None


def test_no_other_module_of_ours_is_an_application() -> None:
    home = Path(aioconcurrent.__file__).parent
    ours = [file for file in home.rglob("*.py") if file.relative_to(home).parts[0] != "demo"]
    assert {owner_of_file(str(file)) for file in ours} == {"machinery"}


def test_the_demo_is_an_application() -> None:
    file = Path(aioconcurrent.__file__).parent / "demo" / "shop.py"
    ask = function(file, "def ask():\n    return application_line()\n")
    assert ask().startswith("demo/shop.py:3 in ask")


def test_a_package_whose_name_begins_like_ours_is_an_application() -> None:
    file = Path(aioconcurrent.__file__).parents[1] / "aioconcurrent_shop" / "buy.py"
    ask = function(file, "def ask():\n    return application_line()\n")
    assert ask() == "aioconcurrent_shop/buy.py:3 in ask"
