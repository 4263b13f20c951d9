"""A project with users, sessions and views, whose tests `tests/test_http.py` runs on one database after another."""
