"""Tasks that stepped calls enqueue by Celery, Django or `background()`: each goes to a new wrapper, not to a broker.

The wrapper gets what a worker would get: a message, serialized as the broker does it.
"""

from __future__ import annotations

import functools
import importlib
import reprlib
import sys
from contextlib import nullcontext, suppress
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

from django import VERSION

from ...base import pickling, points
from ...base.calls import Call, check_target, import_name
from ...base.points import UNFOLLOWED
from ...engine.wrapper import import_target
from ...exceptions import TaskResultError
from .gate import gate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from ...base.calls import Target

_CELERY = "celery.app.base"  # what nobody enqueues a task without
_HAS_TASKS = VERSION >= (6, 0)  # of Django's own
_names: dict[str, str] = {}  # of the tasks that this process has enqueued, by their ids


def install() -> None:
    """Take the place of the brokers that this process has, or comes to have."""
    _once_imported(_CELERY, _take_place_of_celery)
    if _HAS_TASKS:
        _take_place_of_backends()


def notice(hear: Callable[[str], None]) -> None:
    """Let `hear` know the name of each task that this process enqueues, or makes at once instead."""

    def take(function: object, *_: object) -> bool:
        hear(str(function))
        return False

    points.watch_work(take)
    _once_imported(_CELERY, functools.partial(_listen_to_celery, hear))
    if _HAS_TASKS:
        from django.tasks.base import Task as DjangoTask

        kind: Any = DjangoTask
        kind.enqueue, kind.aenqueue = _heard(kind.enqueue, hear), _heard(kind.aenqueue, hear)


def leave(function: Target, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Have the work done by a wrapper of its own, if this process is stepped.

    Raises:
        TypeError: The function cannot be called.
        ValueError: It has no name to import it by.
        UnpicklableError: An argument cannot be pickled.
    """
    check_target(function, "The work that is left to others")
    call = Call(function, args, kwargs)
    name = import_name(function)
    if name is None:
        raise ValueError(
            f"{call.name} cannot be imported by its name. What other processes do must be a function of a module."
        )
    arguments = call.text.partition("(")[2][:-1]
    return gate.enqueue(call.name, arguments, packed(call.name, name, *args, **kwargs))


def packed(name: str, maker: str, *args: Any, **kwargs: Any) -> bytes:
    """A task as it travels to a wrapper.

    Args:
        name: Of the task, with its module.
        maker: "module:function" that makes it, of `args` and `kwargs`.
    """
    return pickling.dumps((maker, args, kwargs), f"What {name} is enqueued with")


def make_task() -> Any:
    """Make the task that was enqueued for this process, if one was."""
    task = gate.fetch_task()
    if task is None:
        return None
    maker, args, kwargs = pickling.loads(task)
    return import_target(maker)(*args, **kwargs)


def told(args: Any, kwargs: Mapping[str, Any]) -> str:
    """Arguments that came out of a message, for people."""
    shown = [*map(reprlib.repr, args), *(f"{name}={reprlib.repr(value)}" for name, value in kwargs.items())]
    return ", ".join(shown)


def _listen_to_celery(hear: Callable[[str], None]) -> None:
    from celery.app.base import Celery
    from celery.app.task import Task

    Celery.send_task = _heard(Celery.send_task, hear)
    Task.apply_async = _heard(Task.apply_async, hear)


def _heard(enqueue: Callable[..., Any], hear: Callable[[str], None]) -> Callable[..., Any]:
    @functools.wraps(enqueue)
    def heard(self: Any, *args: Any, **kwargs: Any) -> Any:
        hear(str(self))
        return enqueue(self, *args, **kwargs)

    return heard


def _once_imported(name: str, do: Callable[[], None]) -> None:
    """Do something now, or as soon as a module is there that nobody has needed so far."""
    if name in sys.modules:
        do()
    else:
        sys.meta_path.insert(0, _Awaited(name, do))


class _Awaited(MetaPathFinder):
    """Finds a module as the others do, and does something when it has run."""

    def __init__(self, name: str, do: Callable[[], None]) -> None:
        self._name, self._do = name, do

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name or self not in sys.meta_path:
            return None
        later = sys.meta_path[sys.meta_path.index(self) + 1 :]
        found = (finder.find_spec(fullname, path, target) for finder in later)
        spec = next((each for each in found if each is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            loader.exec_module = functools.partial(self._run, loader.exec_module)
        return spec

    def _run(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        execute(module)
        with suppress(ValueError):
            sys.meta_path.remove(self)
        self._do()


def _take_place_of_celery() -> None:
    from celery import _state, canvas
    from celery.app.base import Celery
    from celery.app.task import Task
    from celery.result import AsyncResult, ResultSet

    send_task, lend = Celery.send_task, Celery.producer_or_acquire

    def sending(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if not gate.is_closed():
            return send_task(self, name, *args, **kwargs)
        self.conf.task_always_eager = False
        _silence(self.backend)
        kwargs = {**kwargs, "producer": _Producer(self), "connection": None}
        return send_task(self, name, *args, **kwargs)

    def lending(self: Any, producer: Any = None) -> Any:
        """What groups and chords send their tasks with."""
        return nullcontext(_Producer(self)) if gate.is_closed() else lend(self, producer)

    Celery.send_task, Celery.producer_or_acquire = sending, lending
    for kind in (Task, canvas.group, canvas._chain, canvas._chord):
        kind.apply_async = _applying(kind.apply_async)
    AsyncResult.get = _waiting(AsyncResult.get)
    ResultSet.join, ResultSet.join_native = _waiting(ResultSet.join), _waiting(ResultSet.join_native)
    for app in _state._get_active_apps():
        app.conf.task_always_eager = False


def _applying(apply_async: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(apply_async)
    def applying(self: Any, *args: Any, **kwargs: Any) -> Any:
        if gate.is_closed():
            self.app.conf.task_always_eager = False  # a setting of tests; elsewhere a worker makes the task
            _silence(self.app.backend)
        return apply_async(self, *args, **kwargs)

    return applying


def _silence(backend: Any) -> None:
    """Let a store of results know nothing of tasks: it would connect, to hear of them and to count them."""
    backend.on_task_call = lambda *_, **__: {}
    backend.add_pending_result = lambda result, *_, **__: result
    backend.set_chord_size = lambda *_, **__: None


def _waiting(wait: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(wait)
    def waiting(self: Any, *args: Any, **kwargs: Any) -> Any:
        if gate.is_closed() and not getattr(self, "ignored", False):
            task = _names.get(self.id, "its tasks")
            gate.unseen.add(f"{UNFOLLOWED}the result of {task}, which the call waits for")
            raise TaskResultError(task)
        return wait(self, *args, **kwargs)

    return waiting


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
            gate.unseen.add(f"{UNFOLLOWED}{name} is no task of this project, and is not made")
            return
        _names[headers["id"]] = name
        if chord := body[2].get("chord"):
            gate.unseen.add(f"{UNFOLLOWED}{chord['task']}, the body of a chord, is not made when its tasks are over")
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
    request = {**headers, **embedded, "chord": None, "is_eager": False, "delivery_info": {"redelivered": False}}
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
