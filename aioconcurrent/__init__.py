"""Test Django code for race conditions, in real processes.

The functions here are awaitable, on asyncio and trio; `aioconcurrent.sync` has
the same names, blocking.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._api import call_concurrently as call_concurrently
    from ._api import explore as explore
    from ._api import make_concurrent_calls as make_concurrent_calls
    from ._api import replay as replay
    from ._background import background as background
    from ._exploration import Counterexample as Counterexample
    from ._exploration import Exploration as Exploration
    from ._exploration import InconclusiveError as InconclusiveError
    from ._exploration import Lock as Lock
    from ._exploration import Locks as Locks
    from ._exploration import RaceFound as RaceFound
    from ._exploration import Remedy as Remedy
    from ._options import options as options
    from ._options import override_environment as override_environment
    from ._outcomes import CallReport as CallReport
    from ._outcomes import Outcomes as Outcomes
    from ._step import step as step
    from ._trace import RecordedStep as RecordedStep
    from .exceptions import *  # noqa: F403 - its public names are those of the package
else:
    from importlib import import_module

    _NAMES = {  # by the module that they are imported from when they are first used; all others are in `exceptions`
        "_api": ("call_concurrently", "explore", "make_concurrent_calls", "replay"),
        "_background": ("background",),
        "_exploration": (
            "Counterexample",
            "Exploration",
            "InconclusiveError",
            "Lock",
            "Locks",
            "RaceFound",
            "Remedy",
        ),
        "_options": ("options", "override_environment"),
        "_outcomes": ("CallReport", "Outcomes"),
        "_step": ("step",),
        "_trace": ("RecordedStep",),
    }
    _HOMES = {name: home for home, names in _NAMES.items() for name in names}

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used, for every run of pytest imports this package for its plugin."""
        if name == "__all__":
            value = sorted([*_HOMES, *import_module(".exceptions", __name__).__all__])
        elif not name.startswith("_") and name in __getattr__("__all__"):
            value = getattr(import_module(f".{_HOMES.get(name, 'exceptions')}", __name__), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, value)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
