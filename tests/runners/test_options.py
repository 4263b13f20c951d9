"""Options on pytest's command line and in its configuration file."""

import re

import pytest

from tests.runners.sites import Site, only

pytest_plugins = ["pytester"]

PRINTS_OPTIONS = """
from django.test import override_settings
from aioconcurrent.running.options import current_options

@override_settings(AIOCONCURRENT={"timeout": 1, "start_method": "spawn"})
def test_options():
    chosen = current_options()
    print("FOUND", chosen.timeout, chosen.start_method)
    with options(timeout=6):
        print("INSIDE", current_options().timeout)
"""
PROGRAM = """
import os
import pytest

IN_FILE = ["-o", "aioconcurrent_timeout=2", "-o", "aioconcurrent_start_method=inline"]

for arguments, in_environment in [
    ([], ""),
    (IN_FILE, ""),
    (IN_FILE, "3"),
    ([*IN_FILE, "--aioconcurrent-timeout=4"], "3"),
    (["--aioconcurrent-start-method=fork"], ""),
]:
    os.environ["AIOCONCURRENT_TIMEOUT"] = in_environment
    assert pytest.main(["-s", "-p", "no:randomly", "-p", "no:asyncio", *arguments]) == 0
"""


def test_options_of_the_test_come_before_the_command_line_the_environment_the_file_and_the_setting(site: Site) -> None:
    site.write_tests(PRINTS_OPTIONS)
    site.write("program.py", PROGRAM)
    assert site.python("program.py") == 0, site.text
    assert re.findall(r"FOUND (\S+ \w+)\nINSIDE 6\n", site.text) == [
        "1 spawn",
        "2.0 inline",
        "3.0 inline",
        "4.0 inline",
        "1 fork",
    ]


FILES = [
    ("pyproject.toml", "tool.pytest", "2.5"),
    ("pyproject.toml", "tool.pytest.ini_options", '"3.5"'),
    ("pytest.toml", "pytest", "4.5"),
]
WITH_FILES = """
import pytest
from pathlib import Path

for number in range(3):
    [file] = Path(str(number)).glob("*.toml")
    assert pytest.main(["-s", "-p", "no:randomly", "-p", "no:asyncio", "-c", str(file), "test_shop.py"]) == 0
"""


def test_the_file_may_be_toml_with_numbers(site: Site) -> None:
    for number, (name, table, timeout) in enumerate(FILES):
        (site.folder / str(number)).mkdir()
        options = f'DJANGO_SETTINGS_MODULE = "site_settings"\naioconcurrent_timeout = {timeout}\n'
        site.write(f"{number}/{name}", f"[{table}]\n{options}")
    site.write_tests(PRINTS_OPTIONS)
    site.write("program.py", WITH_FILES)
    assert site.python("program.py") == 0, site.text
    assert re.findall(r"FOUND (\S+) spawn\n", site.text) == ["2.5", "3.5", "4.5"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--aioconcurrent-timeout=soon"], "--aioconcurrent-timeout: invalid float value: 'soon'"),
        (["--aioconcurrent-timeout=-1"], "--aioconcurrent-timeout: timeout must be more than 0 seconds and finite"),
        (["--aioconcurrent-start-method=thread"], "--aioconcurrent-start-method: start_method must be one of fork, "),
        (["--aioconcurrent-rounds=0"], "--aioconcurrent-rounds must be an integer of at least 1, not 0"),
        (["--aioconcurrent-max-seconds=0"], "--aioconcurrent-max-seconds: max_seconds must be more than 0 seconds"),
        (["--aioconcurrent-replay=aioc1"], "'aioc1' is not a schedule token: "),
        (["-o", "aioconcurrent_timeout=soon"], "could not convert string to float: 'soon'"),
        (["-o", "aioconcurrent_timeout=0"], "The ini option aioconcurrent_timeout: timeout must be more than 0"),
        (["-o", "aioconcurrent_start_method=x"], "The ini option aioconcurrent_start_method: start_method must be one"),
        (
            ["-o", "aioconcurrent_rounds=-2"],
            "The ini option aioconcurrent_rounds must be an integer of at least 1, not",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_bad_value_is_told_at_start_up(arguments: list[str], said: str, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(*only(), *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in str(result.stderr)
    assert "Traceback" not in str(result.stderr)
