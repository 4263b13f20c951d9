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
    from .base.points import background as background
    from .base.points import step as step
    from .base.trace import RecordedStep as RecordedStep
    from .exceptions import *  # noqa: F403 - its public names are those of the package
    from .results.exploration import Counterexample as Counterexample
    from .results.exploration import Exploration as Exploration
    from .results.exploration import InconclusiveError as InconclusiveError
    from .results.exploration import Lock as Lock
    from .results.exploration import Locks as Locks
    from .results.exploration import RaceFound as RaceFound
    from .results.exploration import Remedy as Remedy
    from .results.outcomes import CallReport as CallReport
    from .results.outcomes import Outcomes as Outcomes
    from .running.options import options as options
    from .running.options import override_environment as override_environment
else:
    from importlib import import_module

    _NAMES = {  # by the module that they are imported from when they are first used; all others are in `exceptions`
        "_api": ("call_concurrently", "explore", "make_concurrent_calls", "replay"),
        "base.points": ("background", "step"),
        "base.trace": ("RecordedStep",),
        "results.exploration": (
            "Counterexample",
            "Exploration",
            "InconclusiveError",
            "Lock",
            "Locks",
            "RaceFound",
            "Remedy",
        ),
        "results.outcomes": ("CallReport", "Outcomes"),
        "running.options": ("options", "override_environment"),
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
