"""What a failed test shows of its race."""

from tests.runners.sites import Site

FAILING = """
def shout(word):
    print(word.upper())
    return len(word)

def test_a_race_is_shown():
    call_concurrently(2, shout, "one")
    call_concurrently(2, shout, "three")
    assert {passes}
"""


def test_a_failed_test_shows_its_last_race_and_what_each_of_the_calls_printed(site: Site) -> None:
    site.write_tests(FAILING.format(passes=False))
    assert site.pytest() == 1
    _, shown = site.text.split("- Last concurrent calls -")
    assert "call 1 of 2, test_shop.shout('three') [pid " in shown
    assert "call 2 of 2, test_shop.shout('three') [pid " in shown
    assert "Output of call 2 of 2, test_shop.shout('three') -" in shown
    assert "THREE\n" in shown
    assert "'one'" not in site.text.split("= FAILURES =")[1].split("- Last concurrent calls -")[1]


def test_a_test_that_passes_shows_nothing_of_its_races(site: Site) -> None:
    site.write_tests(FAILING.format(passes=True))
    assert site.pytest("-rA") == 0
    assert "Last concurrent calls" not in site.text


def test_a_failed_test_shows_nothing_of_the_races_of_others(site: Site) -> None:
    site.write_tests(FAILING.format(passes=True) + "\ndef test_another():\n    assert False\n")
    assert site.pytest() == 1
    assert "Last concurrent calls" not in site.text


def test_the_race_of_a_fixture_that_fails_is_shown(site: Site) -> None:
    site.write_tests("""
        @pytest.fixture
        def raced():
            call_concurrently(2, os.getppid)
            raise LookupError

        def test_with_fixture(raced): ...
    """)
    assert site.pytest() == 1
    assert "- Last concurrent calls -" in site.text


def test_nothing_of_a_race_is_kept_alive_when_its_test_is_over(site: Site) -> None:
    site.write_tests("""
        import gc
        from aioconcurrent import Outcomes

        def test_race():
            call_concurrently(1, os.getppid)

        def test_nothing_is_kept():
            gc.collect()
            assert not [kept for kept in gc.get_objects() if isinstance(kept, Outcomes)]
    """)
    assert site.pytest() == 0, site.text


def test_a_folder_for_reports_records_the_races_and_gets_a_page_of_a_failed_test(site: Site) -> None:
    site.write_tests("""
        @on_database
        def test_race():
            counter = Counter.objects.create(name="clicks")
            call_concurrently(2, increment, counter.pk)
            assert False
    """)
    assert site.pytest("--aioconcurrent-report", "pages") == 1
    shown = site.text.split("- Their lanes -")[1]
    assert "UPDATE shop_counter" in shown.split("- Page -")[0]
    [page] = (site.folder / "pages").iterdir()
    assert f"{page}\n" in shown
    assert "tests.project.shop.calls.increment" in page.read_text()
