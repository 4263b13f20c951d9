"""The Django project around a call: how it is captured in the caller's process and entered in a wrapper.

A project without Django, or whose settings nobody has touched, is a project too:
plain functions need nothing of it.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import _pickling
from ._loops import current_backend
from .databases.guard import guard
from .databases.handoff import Handoff
from .databases.rehearsal import rehearse_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.conf import LazySettings

_SETTINGS_MODULE = "DJANGO_SETTINGS_MODULE"
_DRIVERS = ("MySQLdb",)  # of those that Django imports, what another one passes for
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
        base: Pickled settings that are in place before the project starts: those
            of `settings.configure()`, or those that differ from the module's.
        overrides: Pickled settings of `override_settings`, innermost first.
        deleted: Settings that an override has deleted.
        language: The active language; None if translation is off.
        has_language: Whether it is another one than the settings say.
        time_zone: The pickled active time zone; empty where it is the settings' own.
        databases: Where connections go.
        stepped: Whether its calls ask before each of their operations, in run after run.
        drivers: Modules that are there under the name of another, as PyMySQL is under that of mysqlclient.
    """

    module: str | None = None
    base: Mapping[str, bytes] = field(default_factory=dict)
    overrides: Mapping[str, bytes] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    language: str | None = None
    has_language: bool = False
    time_zone: bytes = b""
    databases: Handoff = field(default_factory=Handoff)
    stepped: bool = False
    drivers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def capture(cls, databases: Handoff) -> Project:
        """Take note of the project of this process.

        Raises:
            UnpicklableError: A setting that differs from the settings module cannot be pickled.
        """
        from django.conf import settings
        from django.utils import timezone, translation

        overrides, deleted, base, module = _unfold(settings)
        language = translation.get_language()
        time_zone, standard = timezone.get_current_timezone(), timezone.get_default_timezone()
        return cls(
            module=module,
            base=_dump_settings(base),
            overrides=_dump_settings(overrides),
            deleted=frozenset(deleted),
            language=language,
            has_language=language != settings.LANGUAGE_CODE,
            time_zone=_pickling.dumps(time_zone, "The active time zone") if time_zone != standard else b"",
            databases=databases,
            drivers={name: real for name in _DRIVERS if (real := _real_name(name)) != name},
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

        guard.follow(self.databases)
        if not _booted_with:
            for name, real in self.drivers.items():
                sys.modules[name] = importlib.import_module(real)
            _booted_with.update({"": b"", **self.base})
            self._configure(settings)
            django.setup()
            if self.overrides:
                import django.test.signals  # makes overridden settings take effect; here once for all forks
        self.databases.take_over()
        if self.stepped:
            rehearse_queries(self.databases.in_use)
        guard.rehearse()

    def rehearse(self) -> None:
        """Connect to an empty database in this process's memory, where the caller's database is SQLite's."""
        if self.key:
            guard.rehearse_in_memory()

    def enter(self, announce: Callable[[bytes], None]) -> None:
        """Take over the databases, overridden settings, language and time zone of the caller."""
        if not self.key:
            return
        guard.announce = announce
        guard.follow(self.databases)
        if not self.databases.is_taken_over():
            self.databases.take_over()
        changed = {name: value for name, value in self.base.items() if _booted_with.get(name) != value}
        gone = [name for name in _booted_with if name and name not in self.base]
        self._override({**changed, **self.overrides}, gone)
        self._activate()

    def connect(self) -> None:
        """Open and warm the connections of this thread."""
        if self.key:
            guard.warm()

    async def aconnect(self) -> None:
        """Open and warm the connections of the thread in which Django's async ORM works."""
        from asgiref.sync import sync_to_async

        if current_backend() == "asyncio":
            await sync_to_async(self.connect)()
        else:
            self.connect()

    def step(self, ask: Callable[[bytes], bytes]) -> None:
        """Let every operation of this process on what calls share wait for leave."""
        from .databases.gating import install

        install(ask, with_django=bool(self.key))

    def begin(self) -> None:
        """Wait until the call is let go for the first time."""
        from .databases.gate import gate

        gate.begin()

    def record(self, tell: Callable[[bytes], None]) -> None:
        """Tell of every operation of this process on what calls share."""
        from .databases.recording import install, recorder

        install(with_django=bool(self.key))
        recorder.start(tell)

    def release(self) -> None:
        """Let operations run freely again."""
        from .databases.gate import gate
        from .databases.recording import recorder

        gate.open()
        recorder.stop()

    def leave(self) -> None:
        """Close every connection, so that the test database can be dropped."""
        if self.key:
            guard.close_all()

    def _configure(self, settings: LazySettings) -> None:
        base = {name: _pickling.loads(value) for name, value in self.base.items()}
        if self.module is None:
            settings.configure(**{**base, "DATABASES": self.databases.settings()})
        else:
            os.environ[_SETTINGS_MODULE] = self.module
            for name, value in {**base, "DATABASES": self.databases.settings()}.items():
                setattr(settings, name, value)

    def _override(self, pickled: Mapping[str, bytes], gone: list[str]) -> None:
        """Change settings as the caller has; `gone` are those that it had changed when this process was started."""
        if not pickled and not self.deleted and not gone:
            return
        from django.conf import global_settings, settings
        from django.test.utils import override_settings

        written = {**_own(global_settings), **(_own(sys.modules[self.module]) if self.module else {})}
        values = {name: written[name] for name in gone if name in written}
        override_settings(**values | {name: _pickling.loads(value) for name, value in pickled.items()}).enable()
        for name in self.deleted.union(name for name in gone if name not in written and name not in pickled):
            delattr(settings, name)

    def _activate(self) -> None:
        from django.utils import timezone, translation

        if self.language is None:
            translation.deactivate_all()
        elif self.has_language:
            translation.activate(self.language)
        if self.time_zone:
            timezone.activate(_pickling.loads(self.time_zone))


def _unfold(settings: Any) -> tuple[dict[str, Any], set[str], dict[str, Any], str | None]:
    """Return the overridden settings, the deleted ones, the ones below them, and the settings module."""
    from django.conf import Settings, UserSettingsHolder, global_settings

    _ = settings.DATABASES  # makes a lazy settings object read its module
    overrides: dict[str, Any] = {}
    deleted: set[str] = set()
    holder: Any = settings._wrapped
    while isinstance(holder, UserSettingsHolder) and holder.default_settings is not global_settings:
        for name, value in _own(holder).items():
            if name not in deleted:
                overrides.setdefault(name, value)
        deleted |= vars(holder)["_deleted"] - overrides.keys()
        holder = holder.default_settings
    if not isinstance(holder, Settings):
        return overrides, deleted, _own(holder), None
    module = sys.modules[holder.SETTINGS_MODULE]
    written = {**_own(global_settings), **_own(module)}
    changed = {name: value for name, value in _own(holder).items() if value is not written.get(name, holder)}
    return overrides, deleted, changed, holder.SETTINGS_MODULE


def _real_name(module: str) -> str:
    return getattr(sys.modules.get(module), "__name__", module)


def _own(holder: object) -> dict[str, Any]:
    """The settings of one layer, without those that are handed over in a way of their own."""
    return {
        name: value
        for name, value in vars(holder).items()
        if name.isupper() and name not in ("DATABASES", "SETTINGS_MODULE")
    }


def _dump_settings(settings: Mapping[str, Any]) -> dict[str, bytes]:
    return {name: _pickling.dumps(value, f"The setting {name}") for name, value in settings.items()}
