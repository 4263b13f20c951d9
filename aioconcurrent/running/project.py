"""The Django project around a call: captured in the caller's process, and set up in a wrapper.

A project without Django, or whose settings are never used, works too: plain functions
need none of this.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..base import context_variables, pickling
from ..base.loops import current_backend
from ..databases.guard import guard
from ..databases.handoff import Handoff
from ..doubles import outbox
from ..exceptions import UnpicklableError
from .changed_settings import as_written, dump_base, is_early, is_same, kind_of, unfold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from django.conf import LazySettings

    from ..databases.django_state import Kept
    from ..databases.handoff import View

_SETTINGS_MODULE = "DJANGO_SETTINGS_MODULE"
_DRIVERS = ("MySQLdb",)  # of those that Django imports, what another one passes for
_CLIENTS = {
    "django.core.cache.backends.redis.RedisCache": "redis",
    "django.core.cache.backends.memcached.PyMemcacheCache": "pymemcache",
    "django.core.cache.backends.memcached.PyLibMCCache": "pylibmc",
}
_rehearsed: set[str] = set()  # the aliases
_booted_with: dict[str, bytes] = {}  # the settings that this process has from a `Project.base`


def uses_django() -> bool:
    """Whether this process has, or would find, a Django project."""
    from django.conf import settings

    return settings.configured or bool(os.environ.get(_SETTINGS_MODULE))


@dataclass(frozen=True)
class Project:
    """A `World` (see `engine/world.py`) that is a Django project.

    Attributes:
        module: The settings module; None for a project set up with
            `settings.configure()`, and where there is no project.
        base: Pickled settings: those of `settings.configure()`, or those that differ from the module's.
        late: Of these, the ones that are not in place before the project starts; it may have made them by
            itself, as an app does that puts a class for its dotted name, and would not take its own value.
        unpicklable: The types of settings that it must have made by itself, for they cannot be pickled.
        overrides: Pickled settings of `override_settings`, innermost first.
        deleted: Settings that an override has deleted.
        language: The active language; None if translation is off.
        has_language: Whether it is another one than the settings say.
        time_zone: The pickled active time zone; empty where it is the settings' own.
        databases: Where connections go.
        stepped: Whether its calls ask before each of their operations, in run after run.
        drivers: Modules that are there under the name of another, as PyMySQL is under that of mysqlclient.
        variables: Context variables and thread locals, as `context_variables` has them.
    """

    module: str | None = None
    base: Mapping[str, bytes] = field(default_factory=dict)
    late: frozenset[str] = frozenset()
    unpicklable: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, bytes] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    language: str | None = None
    has_language: bool = False
    time_zone: bytes = b""
    databases: Handoff = field(default_factory=Handoff)
    stepped: bool = False
    drivers: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[context_variables.Place, bytes] = field(default_factory=dict)

    @classmethod
    def capture(cls, databases: Handoff, caller: View) -> Project:
        """Take note of the project of this process.

        Args:
            caller: What the caller's thread has of its own; this may be another one.

        Raises:
            UnpicklableError: An overridden setting cannot be pickled.
        """
        from django.conf import settings
        from django.utils import timezone

        overrides, deleted, base, module = unfold(settings)
        pickled, unpicklable = dump_base(base)
        written = as_written(module)
        language, time_zone, standard = caller.language, caller.time_zone, timezone.get_default_timezone()
        return cls(
            module=module,
            base=pickled,
            late=frozenset(name for name in pickled if not is_early(name, base[name], written, module)),
            unpicklable=unpicklable,
            overrides={name: pickling.dumps(value, f"The setting {name}") for name, value in overrides.items()},
            deleted=frozenset(deleted),
            language=language,
            has_language=language != settings.LANGUAGE_CODE,
            time_zone=pickling.dumps(time_zone, "The active time zone") if time_zone != standard else b"",
            databases=databases,
            drivers={
                name: real for name in _DRIVERS if (real := getattr(sys.modules.get(name), "__name__", name)) != name
            },
            variables=caller.variables,
        )

    @property
    def key(self) -> str | None:
        """What a template is for: one started for another key cannot serve this project."""
        return self.module or ("settings.configure()" if self.base or self.databases.pickled else None)

    def boot(self) -> None:
        """Start Django, with the caller's databases in place before any project code runs."""
        if not self.key:
            return
        import django
        from django.conf import settings

        guard.follow(replace(self.databases, forbidden={}))  # what holds for a test does not for the start of a project
        if not _booted_with:
            for name, real in self.drivers.items():
                sys.modules[name] = importlib.import_module(real)
            _booted_with.update({"": b"", **self.base})
            self._configure(settings)
            django.setup()
            self._complete(settings)
            if self.overrides:
                import django.test.signals  # makes overridden settings take effect; here once for all forks
            _rehearse_caches()
        self._look_for_unpicklable(settings)
        self.databases.take_over()
        if self.stepped:
            _rehearse_queries(self.databases.in_use)
        guard.rehearse()

    def put_to_the_test(self) -> Callable[[], bool]:
        """Refuse every connection from here on; tell whether none was asked for, and no signal or model was added."""
        if not self.key:
            return lambda: True
        from django.apps.registry import Apps
        from django.dispatch import Signal

        noticed = guard.refuse_all()
        for owner, name in ((Signal, "connect"), (Apps, "register_model")):
            setattr(owner, name, _noticing(getattr(owner, name), noticed))
        return lambda: not noticed

    def rehearse(self) -> None:
        """Connect to an empty database in this process's memory, where the caller's database is SQLite's."""
        if self.key:
            guard.rehearse_in_memory()

    def enter(self, announce: Callable[[bytes], None], blame: Callable[[bytes], None]) -> None:
        """Take over the databases, overridden settings, language and time zone of the caller."""
        if not self.key:
            return
        guard.announce, guard.blame = announce, blame
        guard.follow(self.databases)
        if not self.databases.is_taken_over():
            self.databases.take_over()
        changed = {name: value for name, value in self.base.items() if _booted_with.get(name) != value}
        gone = [name for name in _booted_with if name and name not in self.base]
        self._override({**changed, **self.overrides}, gone)
        self._activate()
        context_variables.enter(self.variables)

    def connect(self) -> None:
        """Open and warm the connections of this thread."""
        if self.key:
            guard.warm()

    async def aconnect(self) -> None:
        """Open and warm the connections of the thread in which Django's async ORM works."""
        from asgiref.sync import sync_to_async

        if self.key:
            guard.enter_tenants()  # also for the connection objects of the coroutine itself
        if current_backend() == "asyncio":
            await sync_to_async(self.connect)()
        else:
            self.connect()

    def hook(self) -> None:
        """Have every operation of this process on what calls share come by the gate, which is open."""
        from ..databases.watching import install

        install.step(with_django=bool(self.key))

    def step(self, ask: Callable[[bytes], bytes], tell: Callable[[bytes], None], script: bytes) -> None:
        """Let every operation of this process on what calls share wait for leave."""
        from ..databases.watching.gate import gate

        gate.close(ask, tell, pickling.loads(script) if script else ())

    def begin(self) -> None:
        """Wait until the call is let go for the first time."""
        from ..databases.watching.gate import gate

        gate.begin()

    def record(self, tell: Callable[[bytes], None]) -> None:
        """Tell of every operation of this process on what calls share."""
        from ..databases.watching import install
        from ..databases.watching.recording import recorder

        install.record(with_django=bool(self.key))
        recorder.start(tell)

    def release(self) -> None:
        """Let operations run freely again."""
        from ..databases.watching.gate import gate
        from ..databases.watching.recording import recorder

        gate.open()
        recorder.stop()

    def sent(self) -> tuple[bytes, ...]:
        """What this process has sent by e-mail."""
        return outbox.sent()

    def places(self) -> set[tuple[str, int | None]]:
        """Hosts, or paths, and ports of the databases and caches; None where any port will do."""
        if not self.key:
            return set()
        from django.conf import settings

        found: set[tuple[str, int | None]] = set()
        for each in self.databases.settings().values():
            port = str(each.get("PORT", ""))
            found |= {(host, int(port) if port.isdecimal() else None) for host in str(each.get("HOST", "")).split(",")}
        for cache in settings.CACHES.values():
            locations = cache.get("LOCATION", "")
            for location in [locations] if isinstance(locations, str) else locations:
                found |= _places_of(str(location))
        return {(host, port) for host, port in found if host}

    def is_severed(self) -> bool:
        """Whether a server has ended a session of this process."""
        return bool(self.key) and guard.is_severed

    def take_note(self) -> str:
        """Take note of connections, caches and what else is put back between two calls."""
        return _kept().take_note() if self.key else ""

    def put_back(self) -> str:
        """Put them back."""
        return _kept().put_back() if self.key else ""

    def memory(self) -> dict[str, object]:
        """The settings, layer by layer, and what is registered with Django."""
        if not self.key:
            return {}
        from django.conf import settings

        made: Any = settings
        layers, holder = [], made._wrapped
        while hasattr(holder, "is_overridden"):  # below is Django's module of defaults
            layers.append(vars(holder))
            holder = getattr(holder, "default_settings", None)
        return {"the settings": layers, **_registered()}

    def leave(self) -> None:
        """Close every connection, so that the test database can be dropped."""
        if self.key:
            guard.close_all()

    def bury(self, sessions: Sequence[bytes]) -> None:
        """End sessions on the servers of the caller's databases, and remove the files that it has lent."""
        if not self.key:
            return
        from ..databases.in_memory import remove_lent
        from ..databases.sessions import end_sessions

        self.databases.take_over()
        settings = self.databases.settings()
        remove_lent(settings.values())
        # PostgreSQL looks after its clients by itself, see `end_with_client`, and uses its numbers again
        left = [(alias, session) for alias, session in map(pickling.loads, sessions) if _counts_on(settings[alias])]
        end_sessions(left)

    def _configure(self, settings: LazySettings) -> None:
        base = {name: pickling.loads(value) for name, value in self.base.items() if name not in self.late}
        if self.module is None:
            settings.configure(**{**base, "DATABASES": self.databases.settings()})
        else:
            os.environ[_SETTINGS_MODULE] = self.module
            for name, value in {**base, "DATABASES": self.databases.settings()}.items():
                setattr(settings, name, value)

    def _complete(self, settings: Any) -> None:
        """Give those settings their values that the project has not come to by itself."""
        made = vars(settings._wrapped)
        for name, pickled in self.base.items():
            if name not in made or not is_same(made[name], pickled):
                setattr(settings, name, pickling.loads(pickled))

    def _look_for_unpicklable(self, settings: Any) -> None:
        for name, kind in self.unpicklable.items():
            if kind_of(getattr(settings, name, None)) != kind:
                reason = f"it cannot be pickled, and the project does not make a {kind} of it by itself"
                raise UnpicklableError(f"The setting {name}", reason)

    def _override(self, pickled: Mapping[str, bytes], gone: list[str]) -> None:
        """Change settings as the caller has; `gone` are those that it had changed when this process was started."""
        if not pickled and not self.deleted and not gone:
            return
        from django.conf import settings
        from django.test.utils import override_settings

        written = as_written(self.module)
        values = {name: written[name] for name in gone if name in written}
        override_settings(**values | {name: pickling.loads(value) for name, value in pickled.items()}).enable()
        for name in self.deleted.union(name for name in gone if name not in written and name not in pickled):
            delattr(settings, name)

    def _activate(self) -> None:
        from django.utils import timezone, translation

        if self.language is None:
            translation.deactivate_all()
        elif self.has_language:
            translation.activate(self.language)
        if self.time_zone:
            timezone.activate(pickling.loads(self.time_zone))


def _registered() -> dict[str, object]:
    """What objects of the project remember that no module of it refers to: Django has them."""
    from django.apps import apps

    found: dict[str, object] = {}
    for config in apps.get_app_configs():
        found[f"the configuration of {config.label}"] = vars(config)
        for model in config.get_models(include_auto_created=True):
            found |= {f"{model.__name__}.{manager.name}": vars(manager) for manager in model._meta.managers}
    sites: Any = sys.modules.get("django.contrib.admin.sites")
    for site in sites.all_sites if sites is not None else ():
        found |= {f"the admin of {model.__name__}": vars(admin) for model, admin in site._registry.items()}
    return found


@lru_cache(1)
def _kept() -> Kept:
    from ..databases.django_state import Kept

    return Kept()


def _rehearse_queries(aliases: Iterable[str]) -> None:
    """Do once, for all forks of this process, what Django does at a first query.

    It imports the compilers of a database's SQL, and works out what a model's fields are called
    and how they are converted.  That takes many times as long as the query.  Connections that
    this opens are the caller's to close.
    """
    from django.apps import apps

    from ..databases.watching import caches, hooks, tasks  # noqa: F401 - imported for the gate of a wrapper

    for alias in set(aliases) - _rehearsed:
        _rehearsed.add(alias)
        for model in apps.get_models():
            with suppress(Exception):  # the call that uses such a model meets it again
                _build_queries(model, alias)


def _rehearse_caches() -> None:
    """Import what the caches of the project talk through; a backend does it at its first operation only."""
    from django.conf import settings
    from django.utils.module_loading import import_string

    for cache in settings.CACHES.values():
        with suppress(Exception):  # the call that uses such a cache meets it again
            backend = str(cache["BACKEND"])
            import_string(backend)
            if backend in _CLIENTS:
                importlib.import_module(_CLIENTS[backend])


def _build_queries(model: Any, alias: str) -> None:
    from django.db.models import F
    from django.db.models.sql import UpdateQuery

    rows = model._base_manager.using(alias).filter(pk=F(model._meta.pk.name)).order_by("pk").query
    update = rows.chain(UpdateQuery)
    update.add_update_fields([(field, None, None) for field in model._meta.local_concrete_fields])
    for query in (rows, update):
        query.get_compiler(alias).as_sql()


def _counts_on(settings: Mapping[str, Any]) -> bool:
    """Whether the server of a database never gives the number of a session to another."""
    return "mysql" in settings["ENGINE"]


def _places_of(location: str) -> set[tuple[str, int | None]]:
    """What a cache's LOCATION names: "redis://host:6379/1", "host:11211", "unix:/path"; others say no place."""
    if ":" not in location:
        return set()
    if location.startswith("unix:"):
        return {(urlsplit(location).path, None)}
    parts = urlsplit(location if "://" in location else f"//{location}")
    with suppress(ValueError):  # it is no address after all
        return {(parts.hostname or "", parts.port)}
    return set()


def _noticing(function: Callable[..., Any], noticed: list[object]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        noticed.append(function)
        return function(*args, **kwargs)

    return called
