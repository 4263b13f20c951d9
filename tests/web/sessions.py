"""Calls that work on one session of Django's."""

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore

KEY = "abcdefghijklmnopqrstuvwxyz012345"


def begin() -> None:
    store = SessionStore()
    store["user"] = 1
    store._session_key = KEY
    store.save(must_create=True)


def remember(key: str) -> None:
    store = SessionStore(KEY)
    store[key] = 1
    store.save()


def count_visits() -> int:
    store = SessionStore(KEY)
    store["visits"] = store.get("visits", 0) + 1
    store.save()
    return int(store["visits"])


def log_out() -> None:
    SessionStore(KEY).flush()


def visit() -> str:
    store = SessionStore(KEY)
    if "user" not in store:
        return "please log in"
    store["visited"] = True
    store.save()
    return "hello"


def visit_until_logged_out() -> str:
    try:
        return visit()
    except UpdateError:
        return "please log in"


def look() -> bool:
    return "user" in SessionStore(KEY)
