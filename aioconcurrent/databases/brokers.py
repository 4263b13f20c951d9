"""Celery and Django's own tasks in stepped calls: each message goes to a new wrapper instead of to a broker.

The wrapper gets what a worker would get: a message, serialized as the broker does it.
"""

from __future__ import annotations

import functools
import importlib
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .. import _background
from ..engine.wrapper import import_target
from .background import packed, told
from .gate import gate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def rehearse() -> None:
    """Find out which of them could be imported, once for all forks of this process."""
    for module in ("celery", "django.tasks"):
        _has(module)


def install() -> None:
    """Take the place of the brokers that this process has."""
    if _has("celery"):
        _take_place_of_celery()
    if _has("django.tasks"):
        _take_place_of_backends()


def notice(hear: Callable[[str], None]) -> None:
    """Let `hear` know the name of each task that this process enqueues, or makes at once instead."""

    def take(function: object, *_: object) -> bool:
        hear(str(function))
        return False

    _background.watch(take)
    if _has("celery"):
        from celery.app.base import Celery
        from celery.app.task import Task

        Celery.send_task = _heard(Celery.send_task, hear)
        Task.apply_async = _heard(Task.apply_async, hear)
    if _has("django.tasks"):
        from django.tasks.base import Task as DjangoTask

        kind: Any = DjangoTask
        kind.enqueue, kind.aenqueue = _heard(kind.enqueue, hear), _heard(kind.aenqueue, hear)


def _heard(enqueue: Callable[..., Any], hear: Callable[[str], None]) -> Callable[..., Any]:
    @functools.wraps(enqueue)
    def heard(self: Any, *args: Any, **kwargs: Any) -> Any:
        hear(str(self))
        return enqueue(self, *args, **kwargs)

    return heard


def _has(module: str) -> bool:
    return module in sys.modules or _can_find(module, tuple(sys.path))


@functools.lru_cache
def _can_find(module: str, _: tuple[str, ...]) -> bool:
    return find_spec(module) is not None


def _take_place_of_celery() -> None:
    from celery import _state
    from celery.app.base import Celery
    from celery.app.task import Task

    send_task, apply_async = Celery.send_task, Task.apply_async

    def sending(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if not gate.is_closed():
            return send_task(self, name, *args, **kwargs)
        self.conf.task_always_eager = False
        self.backend.on_task_call = lambda *_, **__: {}  # which would wait for news of the result
        kwargs = {**kwargs, "producer": _Producer(self), "connection": None}
        return send_task(self, name, *args, **kwargs)

    def applying(self: Any, *args: Any, **kwargs: Any) -> Any:
        if gate.is_closed():
            self.app.conf.task_always_eager = False  # a setting of tests; elsewhere a worker makes the task
        return apply_async(self, *args, **kwargs)

    Celery.send_task, Task.apply_async = sending, applying
    for app in _state._get_active_apps():
        app.conf.task_always_eager = False


class _Producer:
    """Publishes what Celery has made of a task; no connection of its own can fail."""

    recoverable_connection_errors = ()

    def __init__(self, app: Any) -> None:
        self._app = app
        self.serializer = None
        self.connection = self

    def _reraise_as_library_errors(self) -> Any:
        return nullcontext()

    def publish(self, body: Any, *, serializer: str, headers: Mapping[str, Any], **_: Any) -> None:
        from kombu import serialization

        name = (headers or {}).get("task")
        if name is None:  # an event for monitors
            return
        task = self._app.tasks.get(name)
        if task is None:
            gate.unseen.add(f"{name} is no task of this project, and is not made")
            return
        message = dict(headers), *serialization.dumps(body, serializer or self._app.conf.task_serializer)
        maker = f"{__name__}:{make_celery_task.__name__}"
        work = packed(name, maker, type(task).__module__, *message)
        gate.enqueue(name, told(*body[:2]), work, is_retry=bool(headers["retries"]))


def make_celery_task(module: str, headers: Mapping[str, Any], content_type: str, encoding: str, data: Any) -> Any:
    """Make a task as a worker of Celery does, less its pool and its results."""
    from celery import _state
    from celery.app.trace import build_tracer
    from celery.exceptions import Ignore, Reject, Retry
    from kombu import serialization

    importlib.import_module(module)
    name = headers["task"]
    app = next(app for app in (_state.get_current_app(), *_state._get_active_apps()) if name in app.tasks)
    accepted = serialization.prepare_accept_content(app.conf.accept_content)
    args, kwargs, embedded = serialization.loads(data, content_type, encoding, accept=accepted)
    request = {**headers, **embedded, "is_eager": False, "delivery_info": {"redelivered": False}}
    trace = build_tracer(name, app.tasks[name], app=app, eager=True, propagate=True)
    try:
        return trace(headers["id"], args, kwargs, request).retval
    except (Ignore, Reject, Retry):  # a retry is enqueued as a task of its own
        return None


def _take_place_of_backends() -> None:
    """Of Django's own: with these, tests make tasks at once, or never."""
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend

    kinds: tuple[Any, ...] = (DummyBackend, ImmediateBackend)
    for kind in kinds:
        kind.enqueue = _enqueueing(kind.enqueue)


def _enqueueing(enqueue_here: Callable[..., Any]) -> Callable[..., Any]:
    def enqueueing(self: Any, task: Any, args: Any, kwargs: Any) -> Any:
        from django.tasks.signals import task_enqueued
        from django.utils.crypto import get_random_string
        from django.utils.json import normalize_json

        if not gate.is_closed():
            return enqueue_here(self, task, args, kwargs)
        self.validate_task(task)
        args, kwargs = normalize_json(list(args)), normalize_json(kwargs)
        result = _result(task, self.alias, get_random_string(32), args, kwargs)
        task_enqueued.send(type(self), task_result=result)
        target = f"{task.func.__module__}:{task.func.__qualname__}"
        maker = f"{__name__}:{make_django_task.__name__}"
        work = packed(task.module_path, maker, target, self.alias, result.id, args, kwargs)
        gate.enqueue(task.module_path, told(args, kwargs), work)
        return result

    return enqueueing


def make_django_task(target: str, alias: str, number: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Make a task as a worker does, less what it keeps of its result."""
    from django.tasks import TaskContext

    task = import_target(target)
    if task.takes_context:
        args = [TaskContext(task_result=_result(task, alias, number, args, kwargs)), *args]
    return task.call(*args, **kwargs)


def _result(task: Any, alias: str, number: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What is known of a task of which nothing has come yet."""
    from django.tasks import TaskResult, TaskResultStatus
    from django.utils import timezone

    never: dict[str, Any] = dict.fromkeys(("started_at", "last_attempted_at", "finished_at"))
    return TaskResult(
        task=task,
        id=number,
        status=TaskResultStatus.READY,
        enqueued_at=timezone.now(),
        args=args,
        kwargs=kwargs,
        backend=alias,
        errors=[],
        worker_ids=[],
        **never,
    )
