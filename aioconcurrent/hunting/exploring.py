"""Explores two calls in the middle of a test, which then goes on as if nothing had happened."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..running.question import question as asked
from .committing import committed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..databases.handoff import View
    from ..results.exploration import Exploration
    from ..running.question import Question
    from .options import HuntOptions

_UNCOMPARED = {"django.contrib.sessions": "sessions.Session", "django.contrib.admin": "admin.LogEntry"}


def explored(calls: Sequence[object], options: HuntOptions) -> Exploration:
    """Explore calls with the rows that this thread's transactions hold."""
    from ..databases.handoff import look
    from ..running.own_loop import run_blocking

    view = look()
    with committed():
        return run_blocking(_quietly, _asked(calls, options), [_without_transactions(view)])


def _asked(calls: Sequence[object], options: HuntOptions) -> Question:
    return asked(
        calls,
        check=None,
        refusals=(),
        ignore=uncompared(options),
        max_schedules=options.schedules,
        max_seconds=options.pair_seconds,
    )


def uncompared(options: HuntOptions) -> tuple[str, ...]:
    """Models and fields in which a difference wastes the time of whoever reads of it, and those that were named."""
    from django.apps import apps
    from django.conf import settings

    usual = [name for app, name in _UNCOMPARED.items() if apps.is_installed(app)]
    if apps.is_installed("django.contrib.auth"):
        user: Any = apps.get_model(settings.AUTH_USER_MODEL)
        usual += [f"{user._meta.label}.last_login" for each in user._meta.concrete_fields if each.name == "last_login"]
    return (*usual, *options.ignore)


def _without_transactions(view: View) -> View:
    """The same when all that this thread has written is committed."""
    return replace(view, in_atomic=frozenset())


async def _quietly(question: Question, views: Sequence[View], in_caller: Any) -> Exploration:
    """Explore, and bring nothing of what the calls did into this process: no e-mail, log record, output or call of a
    mock."""
    from ..running.explore import run_exploration

    async def nothing(*_: object) -> None:
        pass

    return await run_exploration(question, views, nothing)
