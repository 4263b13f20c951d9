"""Carries a test's doubles into the calls, and brings back what the calls did to them."""

from __future__ import annotations

import pickle
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .._text import printable
from ..base import pickling
from ..base.calls import by_value_modules, import_name
from ..exceptions import PatchError, UnpicklableError
from . import http, mocks
from .mocks import MISSING, DictPatch, Patch, active_patches, dict_patches, is_reachable, reference_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    _Other = DictPatch | http.Starter
    Placed = tuple[bytes, str, object]  # where, which attribute, what is put there


@dataclass(frozen=True)
class Witness:
    """A double of which a call tells what it did to it, in the caller's process or in that of the call.

    Attributes:
        routes: What may answer requests, where it stands in for the network.
    """

    double: Any
    routes: Sequence[Any]

    @classmethod
    def of(cls, double: Any) -> Witness:
        return cls(double, () if mocks.is_mock(double) else http.routes(double))

    def recorded(self) -> list[Any]:
        """What was done to it."""
        if mocks.is_mock(self.double):
            return mocks.recorded(self.double)
        return http.recorded(self.double, self.routes)

    def records(self) -> list[tuple[dict[str, Any], str, Any]]:
        """Where it keeps what was done to it: the dict and the name of each record, and the record."""
        if mocks.is_mock(self.double):
            kept = [(state, name) for state in mocks.kept(self.double) for name in state if mocks.is_record(name)]
            return [(state, name, state[name]) for state, name in kept]
        return [({}, "", http.made(holder)) for holder in (self.double, *self.routes)]

    def absorb(self, record: list[Any]) -> None:
        """Do the same to it."""
        if mocks.is_mock(self.double):
            mocks.absorb(self.double, record)
        else:
            http.absorb(self.double, self.routes, record)


_arrived: list[Any] = []  # in the process of a call
_witnesses: list[Witness] = []  # the same, when all is in place; in the order of `Doubles.witnesses`


@dataclass
class Doubles:
    """What a test has put in place of other things, as its calls shall have it.

    Attributes:
        pickled: For `put_in_place`; empty where there is nothing.
        modules: Those that it is put into.
        witnesses: Of which doubles calls tell what they did to them.
    """

    pickled: bytes = b""
    modules: tuple[str, ...] = ()
    witnesses: list[Witness] = field(default_factory=list)

    @classmethod
    def capture(cls, *, leave_behind: bool) -> Doubles:
        """Take note of what is patched in this process.

        Args:
            leave_behind: Whether what cannot travel is left out.

        Raises:
            PatchError: Something cannot travel.
        """
        patches, dicts, starters = active_patches(), dict_patches(), http.starters()
        if not (patches or dicts or starters):
            return cls()
        packing = _Packing(patches, [*dicts, *starters])
        pickled = packing.pack_what_travels() if leave_behind else packing.pack_all()
        return cls(pickled, packing.modules, [Witness.of(double) for double in packing.told])

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Let the doubles of this process forget what they come to know in a block."""
        records = [record for witness in self.witnesses for record in witness.records()]
        before = [(*record, list(record[2]) if isinstance(record[2], list) else None) for record in records]
        try:
            yield
        finally:
            for witness in self.witnesses:
                if mocks.is_mock(witness.double):
                    witness.double.reset_mock()  # also children that came into being in the block
            for state, name, record, items in before:
                state[name] = record
                if items is not None:
                    record[:] = items

    def absorb(self, recorded: bytes) -> None:
        """Let the doubles of this process know what one call did to their copies."""
        for number, record in pickle.loads(recorded) if recorded else ():
            try:
                self.witnesses[number].absorb(pickling.load_from_call(record))
            except pickling.UnreadableError as problem:
                text = f"What a call did to a double of the test cannot be rebuilt in this process: {problem}"
                warnings.showwarning(printable(text), RuntimeWarning, __file__, 0)


class _Packing:
    """Knows what must not be pickled as it looks: under the names of originals are their replacements."""

    def __init__(self, patches: Sequence[Patch], others: Sequence[_Other]) -> None:
        self._patches, self._others = patches, others
        self._places = {id(patch.target): reference_to(patch.target) for patch in patches}
        self._originals = {
            id(patch.original): patch
            for patch in patches
            if callable(patch.original) and self._places[id(patch.target)] and not mocks.is_mock(patch.original)
        }
        self._values = {id(patch.value): patch for patch in patches}
        self.told: list[Any] = []

    @property
    def modules(self) -> tuple[str, ...]:
        """Where something is put in place."""
        targets = [patch.target for patch in self._patches if self._places[id(patch.target)]]
        return tuple(sorted({getattr(target, "__module__", None) or target.__name__ for target in targets}))  # type: ignore[attr-defined]

    def pack_all(self) -> bytes:
        """Pickle all that matters.

        Raises:
            PatchError: Something cannot be pickled, or its place has no name.
        """
        for patch in self._patches:
            if self._places[id(patch.target)] is None and is_reachable(patch.target):
                reason = "another process has no way to find that object; patch it on its class or its module"
                raise PatchError(str(patch), reason)
        try:
            return self._dump(self._patches, self._others)
        except UnpicklableError as error:
            for patch in self._patches:
                self._try(patch, [patch], [])
            for other in self._others:
                self._try(other, [], [other])
            raise PatchError(" and ".join(map(str, self._patches)), error.reason) from error  # each alone can

    def pack_what_travels(self) -> bytes:
        """Pickle what can be."""
        patches = [patch for patch in self._patches if self._can(patch, [patch], [])]
        return self._dump(patches, [other for other in self._others if self._can(other, [], [other])])

    def _can(self, what: object, patches: Sequence[Patch], others: Sequence[_Other]) -> bool:
        try:
            self._try(what, patches, others)
        except PatchError:
            return False
        return True

    def _try(self, what: object, patches: Sequence[Patch], others: Sequence[_Other]) -> None:
        try:
            self._dump(patches, others)
        except UnpicklableError as error:
            raise PatchError(str(what), error.reason) from error

    def _dump(self, patches: Sequence[Patch], others: Sequence[_Other]) -> bytes:
        self.told.clear()
        placed: list[Placed] = []
        for patch in patches:
            place = self._places[id(patch.target)]
            if place is not None:
                placed.append((place, patch.name, _Deleted() if patch.value is MISSING else patch.value))
        starters = [_started(other) if isinstance(other, DictPatch) else other for other in others]
        modules = by_value_modules(patch.value for patch in patches)
        return pickling.dump_arguments((placed, [each for each in starters if each]), modules, "It", self._reduce)

    def _reduce(self, obj: Any, by_value: Callable[[Any], Any]) -> Any:
        original = self._originals.get(id(obj))
        if original is not None and original.original is obj:
            return _get_original, (self._places[id(original.target)], original.name)
        if mocks.is_autospecced(obj):
            return mocks.without_calls(by_value(obj))
        if isinstance(obj, FunctionType) and id(obj) in self._values:
            name = import_name(obj)  # which may be that of what it replaces
            replaces = name is None or name.replace(":", ".") == str(self._values[id(obj)])
            return by_value(obj) if replaces else NotImplemented
        reduced, tells = http.reduce(obj), http.tells(obj)
        if reduced is NotImplemented and mocks.is_mock(obj):
            reduced, tells = mocks.reduce(obj), mocks.is_root(obj)
        if tells:
            make, arguments, *state = reduced
            reduced = _arrive, (len(self.told), make, *arguments), *state
            self.told.append(obj)
        return reduced


def put_in_place(pickled: bytes) -> list[object]:
    """Put into this process what the test has put into its own; return that."""
    placed, starters = pickling.loads(pickled)
    for place, name, value in placed:
        target = pickle.loads(place)
        if isinstance(value, _Deleted):
            delattr(target, name)
        else:
            setattr(target, name, value)
    for starter in starters:
        starter.start()
    for double in _arrived:
        if mocks.is_mock(double):
            double.reset_mock()
        _witnesses.append(Witness.of(double))
    return [value for _, _, value in placed]


def recorded() -> bytes:
    """What happened to the doubles of this process, for `Doubles.absorb`."""
    records = [(number, witness.recorded()) for number, witness in enumerate(_witnesses)]
    found = [(number, _dump_what_travels(record)) for number, record in records if record]
    return pickle.dumps(found) if found else b""


@dataclass(frozen=True)
class _Items:
    """Items of a dict that are put in place."""

    place: bytes
    changed: dict[Any, Any]
    gone: tuple[Any, ...]

    def start(self) -> None:
        target = pickle.loads(self.place)
        target.update(self.changed)
        for key in self.gone:
            target.pop(key, None)


def _started(patch: DictPatch) -> _Items | None:
    place = reference_to(patch.target)
    return None if place is None else _Items(place, patch.changed, patch.gone)


def _dump_what_travels(record: list[Any]) -> bytes:
    try:
        return pickling.dumps(record)
    except UnpicklableError:  # arguments such as a connection or a lock are told by their repr
        return pickling.dumps(_portable(record))


def _portable(value: Any) -> Any:
    if type(value) in (list, tuple):
        return type(value)(_portable(item) for item in value)
    if type(value) is dict:
        return {key: _portable(item) for key, item in value.items()}
    try:
        pickling.dumps(value)
    except UnpicklableError:
        return repr(value)
    return value


class _Deleted:
    """Stands for an attribute that the test has deleted."""


def _arrive(number: int, make: Any, *arguments: Any) -> Any:
    """Make a double that tells what happens to it."""
    double = make(*arguments)
    _arrived.extend([None] * (number + 1 - len(_arrived)))
    _arrived[number] = double
    return double


def _get_original(place: bytes, name: str) -> Any:
    """What is there before anything is put in place."""
    target = pickle.loads(place)
    return vars(target).get(name, getattr(target, name, None))
