"""Django's own runner of tests: races beside its processes, threads and event loops."""

import os
import re
import shlex
import signal

import pytest

from tests.faults.processes import signed_in, wait_until
from tests.project.databases import on, thorough
from tests.runners.sites import Site

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
    execute_from_command_line(sys.argv)
"""
MORE_SETTINGS = """
ROOT_URLCONF = "site_urls"
STATIC_URL, MEDIA_URL = "static/", "media/"
INSTALLED_APPS += ["django.contrib.contenttypes"]
"""
URLS = """
from django.http import HttpResponse
from django.urls import path
from tests.project.shop.calls import increment_atomically

def increment(request, pk):
    increment_atomically(pk)
    return HttpResponse("done")

urlpatterns = [path("increment/<int:pk>", increment)]
"""
TESTS = """
from urllib.request import urlopen

import aioconcurrent
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.test import LiveServerTestCase, TestCase
from aioconcurrent.testcases import WithCommits

def template():
    return os.getppid()

def note():
    with open(HERE / "templates", "a") as file:
        file.write(f"{os.getpid()} {call_concurrently(1, template)[0]}\\n")

def request(url):
    with urlopen(url) as response:
        return response.read()

class Plain(TransactionTestCase):
    def test_race(self):
        counter = Counter.objects.create(name="clicks")
        call_concurrently(2, increment_atomically, counter.pk).raise_errors()
        counter.refresh_from_db()
        self.assertEqual(counter.value, 2)
        note()

class Coroutine(TransactionTestCase):
    async def test_race(self):
        counter = await Counter.objects.acreate(name="clicks")
        (await aioconcurrent.call_concurrently(2, increment_atomically, counter.pk)).raise_errors()
        await counter.arefresh_from_db()
        self.assertEqual(counter.value, 2)

    async def test_exploration(self):
        counter = await Counter.objects.acreate(name="clicks")
        found = await aioconcurrent.explore((increment, {"pk": counter.pk}), (increment, {"pk": counter.pk}))
        self.assertEqual(found.verdict, "race")

class Inside(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.counter = Counter.objects.create(name="clicks")

class Committing(WithCommits, Inside):
    def test_race(self):
        call_concurrently(2, increment_atomically, self.counter.pk).raise_errors()
        self.counter.refresh_from_db()
        self.assertEqual(self.counter.value, 2)

    def test_the_next_one_has_fresh_rows(self):
        self.assertEqual([each.value for each in Counter.objects.all()], [0])
        self.assertEqual(Counter.objects.get(), self.counter)

class InsideAgain(Inside):
    def test_what_was_there_before_all_tests_still_is(self):
        self.assertEqual(ContentType.objects.count(), len(apps.get_models()))
        self.assertEqual(Counter.objects.count(), 1)

class Live(LiveServerTestCase):
    def setUp(self):
        self.counter = Counter.objects.create(name="clicks")

    def test_calls_make_requests(self):
        url = f"{self.live_server_url}/increment/{self.counter.pk}"
        self.assertEqual(call_concurrently(3, request, url), [b"done"] * 3)
        self.counter.refresh_from_db()
        self.assertEqual(self.counter.value, 3)

    def test_calls_query_beside_the_server(self):
        request(f"{self.live_server_url}/increment/{self.counter.pk}")
        call_concurrently(2, increment_atomically, self.counter.pk).raise_errors()
        self.counter.refresh_from_db()
        self.assertEqual(self.counter.value, 3)
        note()

    def test_exploration_beside_the_server(self):
        found = explore((increment, {"pk": self.counter.pk}), (increment, {"pk": self.counter.pk}))
        self.assertEqual(found.verdict, "race")
"""


def with_manage(site: Site) -> Site:
    settings = (site.folder / "site_settings.py").read_text()
    site.write("site_settings.py", settings + MORE_SETTINGS)
    site.write("site_urls.py", URLS)
    site.write("manage.py", MANAGE)
    return site


def templates(site: Site) -> list[list[str]]:
    """The processes that ran tests, each with the template of its calls."""
    return [line.split() for line in (site.folder / "templates").read_text().splitlines()]


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql"))])
@pytest.mark.parametrize("options", [(), ("--parallel", "2")], ids=["alone", "parallel"])
def test_every_kind_of_test_case_races(options: tuple[str, ...], site_anywhere: Site) -> None:
    site = with_manage(site_anywhere)
    site.write_tests(TESTS)
    assert site.python("manage.py", "test", "--noinput", *options) == 0, site.text
    assert "Ran 9 tests" in site.text
    notes = templates(site)
    assert len(notes) == 2
    assert len({tester for tester, _ in notes}) == len({template for _, template in notes})


def test_a_race_is_told_with_its_lanes_a_page_and_the_line_that_replays_it(site: Site) -> None:
    site = with_manage(site)
    site.write_tests("""
        class Racing(TransactionTestCase):
            def test_race(self):
                counter = Counter.objects.create(name="clicks")
                explore((increment, {"pk": counter.pk}), (increment, {"pk": counter.pk})).assert_no_race()
    """)
    assert site.python("manage.py", "test", "--noinput", AIOCONCURRENT_REPORT="pages", GITHUB_ACTIONS="") == 1
    assert "::error" not in site.text
    assert "aioconcurrent.RaceFound: race (" in site.text
    assert "assert_no_race()\n" in site.text
    assert len(re.findall(r'File ".*/aioconcurrent/', site.text)) == 1, "frames of this library"
    assert site.text.count("│ B: increment(pk=") == 1
    [page] = (site.folder / "pages").glob("*.html")
    assert f"page: {page}\n" in site.text
    assert page.with_suffix(".json").exists()
    [line] = re.findall(r"to run this order alone: (.*)", site.text)
    variable, python, *command = shlex.split(line)
    assert (python, command[:2]) == ("python", ["manage.py", "test"])
    name, token = variable.split("=")
    assert site.python(*command, "--noinput", **{name: token}, GITHUB_ACTIONS="true") == 1
    assert len(re.findall("^::error .*title=lost update::", site.text, re.MULTILINE)) == 1
    assert "Ran 1 test" in site.text
    assert "(4 schedules run)" in site.text


@pytest.mark.parametrize("database", [*thorough(on("default")), *on("postgresql")])
def test_a_database_that_is_kept_serves_the_next_run(site_anywhere: Site) -> None:
    site = with_manage(site_anywhere)
    site.write_tests(TESTS)
    for option in ("--keepdb", "--keepdb", "--noinput"):
        assert site.python("manage.py", "test", "test_shop.Plain", option) == 0, site.text
    assert len({template for _, template in templates(site)}) == 3


def test_control_c_twice_which_ends_the_test_that_runs_leaves_nothing(site: Site) -> None:
    site = with_manage(site)
    (site.folder / "signed-in").mkdir()
    site.write_tests("""
        def sign_in_and_stay():
            (HERE / "signed-in" / str(os.getpid())).touch()
            time.sleep(600)

        class Endless(TransactionTestCase):
            def test_race(self):
                call_concurrently(2, sign_in_and_stay)
    """)
    with site.start_python("manage.py", "test", "--noinput") as process:
        assert wait_until(lambda: len(signed_in(site.folder / "signed-in")) == 2)
        while process.poll() is None:  # the first lets Django's runner stop after this test
            os.killpg(process.pid, signal.SIGINT)
            wait_until(lambda: process.poll() is not None, 5)
        text, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in text
