"""Whether two sets of facts are the same but for the keys that new rows were given.

That is graph isomorphism of a kind that is nearly always easy: the values around
a key tell which it is.  What they leave open is tried, within a limit.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from .facts import Fact, Facts, Ref, refs_in

_Colours = dict[Ref, int]

_ROUNDS = 4  # how far what tells two keys apart may be from them: in rows, by way of foreign keys
_TRIALS = 200


def same_but_for_keys(one: Facts, other: Facts) -> bool:
    """Tell whether some renaming of the `Ref`s of `one`, table by table, gives `other`.

    Among rows so alike that nothing tells them apart, those with the lower keys go
    together first.  After 200 trials the answer is no.
    """
    if one == other:
        return True
    if _nameless(one) != _nameless(other):
        return False
    return _search(one, other, {}, {}, count(1))


def _nameless(facts: Facts) -> Counter[Hashable]:
    """The facts less which key is meant."""
    found: Counter[Hashable] = Counter()
    for fact, times in facts.items():
        values = (leaf.value.table if isinstance(leaf.value, Ref) else leaf for leaf in fact.leaves)
        found[fact.about, tuple(values)] += times
    return found


def _search(one: Facts, other: Facts, fixed: _Colours, partner: _Colours, trials: "count[int]") -> bool:
    trial = next(trials)
    if trial > _TRIALS:
        return False
    classes, partners = _classes(one, fixed), _classes(other, partner)
    if {c: len(refs) for c, refs in classes.items()} != {c: len(refs) for c, refs in partners.items()}:
        return False
    names = {ref: to for colour, refs in classes.items() for ref, to in zip(refs, partners[colour], strict=True)}
    if renamed(one, names) == other:
        return True
    open_ = [colour for colour, refs in classes.items() if len(refs) > 1]
    if not open_:
        return False
    colour = min(open_, key=lambda each: len(classes[each]))
    first = classes[colour][0]
    return any(
        _search(one, other, {**fixed, first: trial}, {**partner, candidate: trial}, trials)
        for candidate in partners[colour]
    )


def renamed(facts: Facts, names: Mapping[Ref, Hashable]) -> Facts:
    """Put other names for keys."""
    result: Facts = Counter()
    for fact, times in facts.items():
        leaves = tuple(
            replace(leaf, value=names.get(leaf.value, leaf.value)) if isinstance(leaf.value, Ref) else leaf
            for leaf in fact.leaves
        )
        result[Fact(fact.about, leaves)] += times
    return result


def _classes(facts: Facts, fixed: _Colours) -> dict[int, list[Ref]]:
    """Group the keys by what surrounds them, each group in the order of the keys."""
    refs = refs_in(facts)
    colours = {ref: hash((ref.table, fixed.get(ref))) for ref in refs}
    for _ in range(_ROUNDS if refs else 0):
        around: dict[Ref, list[int]] = defaultdict(list)
        for fact, times in facts.items():
            seen = tuple(_seen(leaf.value, colours) for leaf in fact.leaves)
            places = hash((fact.about, times, seen))
            for index, leaf in enumerate(fact.leaves):
                if isinstance(leaf.value, Ref):
                    around[leaf.value].append(hash((index, places)))
        colours = {ref: hash((colours[ref], tuple(sorted(around[ref])))) for ref in refs}
    classes: dict[int, list[Ref]] = defaultdict(list)
    for ref in sorted(refs, key=_by_key):
        classes[colours[ref]].append(ref)
    return classes


def _by_key(ref: Ref) -> tuple[str, str, Any]:
    return ref.table, type(ref.key).__name__, ref.key if isinstance(ref.key, int | str) else repr(ref.key)


def _seen(value: Hashable, colours: _Colours) -> Hashable:
    return colours[value] if isinstance(value, Ref) else value
