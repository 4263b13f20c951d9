"""Small programs as data, for calls that somebody made up at random.

A program is a sequence of blocks; what a `Clerk` draws by chance or from the clock,
and which of the numbers it has seen follow a primary key, goes to its journal, so
that endings can be compared whoever had which luck.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from django.db import DatabaseError, connections, transaction
from django.db.models import F, Max, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from tests.project.office.models import Bill, Handle, Job, Post, Reply

Kind = Literal["plain", "key", "after"]  # of what was seen; "after": the primary key of a bill, and one
Operation = tuple[str, int]


@dataclass(frozen=True)
class Block:
    """Operations and other blocks, in `atomic` or not; `retry`: up to three times, where the database refuses."""

    parts: tuple[Operation | Block, ...]
    atomic: bool = False
    on_error: Literal["raise", "catch", "retry"] = "raise"


Program = Sequence[Block]
Shown = Literal["everything", "last", "nothing"]


@dataclass
class Journal:
    """What tells one run of a program from another though it did the same.

    Attributes:
        drawn: Values from the clock and from sources of randomness, with the names of what was drawn.
        kinds: Of all that is returned.
    """

    drawn: dict[str, str] = field(default_factory=dict)
    kinds: list[Kind] = field(default_factory=list)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps([self.drawn, self.kinds]))

    @classmethod
    def read(cls, path: Path) -> Journal:
        return cls(*json.loads(path.read_text()))


def run(
    program: Program, *, name: str, using: str, shown: Shown = "everything", journal: Path | None = None
) -> list[object]:
    """Run a program; returns what it is to show of what it saw."""
    clerk = Clerk(name, using)
    try:
        clerk.run(program)
        return clerk.shown(shown)
    finally:
        if journal is not None:
            clerk.journal.write(journal)


@dataclass
class Clerk:
    """Carries out one program."""

    name: str
    using: str
    seen: list[object] = field(default_factory=list)
    journal: Journal = field(default_factory=Journal)
    _tokens: int = 0

    def run(self, program: Program) -> None:
        for block in program:
            self._run(block)

    def shown(self, shown: Shown) -> list[object]:
        first = {"everything": 0, "last": max(len(self.seen) - 1, 0), "nothing": len(self.seen)}[shown]
        self.journal.kinds = self.journal.kinds[first:]
        return self.seen[first:]

    def _run(self, block: Block) -> None:
        for _ in range(3 if block.on_error == "retry" else 1):
            try:
                if block.atomic:
                    with transaction.atomic(self.using):
                        self._carry_out(block)
                else:
                    self._carry_out(block)
            except DatabaseError as error:
                if block.on_error == "raise":
                    raise
                self._see(type(error).__name__)
            else:
                return

    def _carry_out(self, block: Block) -> None:
        for part in block.parts:
            if isinstance(part, Block):
                self._run(part)
            else:
                verb, pk = part
                self._see(*getattr(self, verb)(pk))

    def _see(self, value: object, kind: Kind = "plain") -> None:
        self.seen.append(value)
        self.journal.kinds.append(kind)

    def _draw(self, value: str, name: str) -> str:
        self.journal.drawn[value] = name
        return value

    def _token(self, value: str) -> str:
        self._tokens += 1
        return self._draw(value, f"token {self._tokens}")

    def _now(self) -> datetime:
        now = timezone.now()
        self._draw(now.isoformat(), "time")
        return now

    def _time_of_day(self) -> str:
        return self._draw(f"{self._now():%H:%M:%S.%f}", "time")

    @property
    def _number(self) -> int:
        """The last plain number that was seen."""
        numbers = [
            value
            for value, kind in zip(self.seen, self.journal.kinds, strict=True)
            if kind == "plain" and isinstance(value, int) and not isinstance(value, bool)
        ]
        return numbers[-1] if numbers else 0

    def _execute(self, statement: str) -> int:
        with connections[self.using].cursor() as cursor:
            cursor.execute(statement)
            return int(cursor.rowcount)

    @property
    def _bills(self) -> QuerySet[Bill]:
        return Bill.objects.using(self.using).order_by("pk")

    @property
    def _jobs(self) -> QuerySet[Job]:
        return Job.objects.using(self.using).order_by("pk")

    @property
    def _posts(self) -> QuerySet[Post]:
        return Post.objects.using(self.using)

    @property
    def _replies(self) -> QuerySet[Reply]:
        return Reply.objects.using(self.using)

    @property
    def _handles(self) -> QuerySet[Handle]:
        return Handle.objects.using(self.using)

    # Numbers of a row.

    def read(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk).values_list("likes", flat=True).first(),)

    def total(self, pk: int) -> tuple[object]:
        return (self._posts.aggregate(total=Sum("likes"))["total"],)

    def put(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk).update(likes=self._number * 2 + 1) == 1,)

    def swap(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk, likes=self._number).update(likes=self._number * 2 + 1) == 1,)

    def add(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk).update(likes=F("likes") * 3 + 1) == 1,)

    def add_if_few(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk, likes__lt=2).update(likes=F("likes") + 1) == 1,)

    def add_to_all(self, pk: int) -> tuple[object]:
        return (self._posts.update(likes=F("likes") + 1) > 0,)

    def close_popular(self, pk: int) -> tuple[object]:
        return (self._posts.filter(likes__gte=2).update(active=False) > 0,)

    def add_and_save(self, pk: int) -> tuple[object]:
        for post in self._posts.filter(pk=pk):
            post.likes += 1
            post.save()
        return (None,)

    def add_and_save_field(self, pk: int) -> tuple[object]:
        for post in self._posts.filter(pk=pk):
            post.likes += 1
            post.save(update_fields=["likes"])
        return (None,)

    def add_locked(self, pk: int) -> tuple[object]:
        with transaction.atomic(self.using):
            for post in self._posts.select_for_update().filter(pk=pk):
                post.likes += 1
                post.save()
        return (None,)

    def lock(self, pk: int) -> tuple[object]:
        with transaction.atomic(self.using):
            return (self._posts.select_for_update().filter(pk=pk).values_list("likes", flat=True).first(),)

    def add_in_vain(self, pk: int) -> tuple[object]:
        with transaction.atomic(self.using):
            self.add(pk)
            transaction.set_rollback(True, self.using)
        return (None,)

    def add_later(self, pk: int) -> tuple[object]:
        transaction.on_commit(lambda: self.add(pk), using=self.using)
        return (None,)

    def count_into(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk).update(likes=self._replies.count()) == 1,)

    def count_into_by_database(self, pk: int) -> tuple[object]:
        number = "(SELECT count(*) FROM office_reply)"
        return (self._execute(f"UPDATE office_post SET likes = {number} WHERE id = {pk}") == 1,)

    # Rows that refer to rows.

    def reply(self, pk: int) -> tuple[object]:
        self._replies.create(post_id=pk)
        return (None,)

    def replies(self, pk: int) -> tuple[object]:
        return (self._replies.count(),)

    def raise_replies(self, pk: int) -> tuple[object]:
        return (self._replies.filter(post__likes__gte=1).update(amount=F("amount") + 1) > 0,)

    def delete(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk).delete()[0] > 0,)

    # Times, tokens, JSON.

    def note_time(self, pk: int) -> tuple[object]:
        for post in self._posts.filter(pk=pk):
            post.note += f"{self._time_of_day()} {self.name};"
            post.save()
        return (None,)

    def rename(self, pk: int) -> tuple[object]:
        for post in self._posts.filter(pk=pk):
            post.note = "renamed"
            post.save(update_fields=["note", "due"])
        return (None,)

    def touch(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk).update(due=self._now()) == 1,)

    def touch_by_database(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk).update(due=Now(), likes=F("likes") + 1) == 1,)

    def touched(self, pk: int) -> tuple[object]:
        return (self._posts.filter(pk=pk, due__isnull=False).exists(),)

    def log(self, pk: int) -> tuple[object]:
        for post in self._posts.filter(pk=pk):
            post.history.append({"at": self._now().isoformat(), "likes": post.likes})
            post.save(update_fields=["history"])
        return (None,)

    def make_token(self, pk: int) -> tuple[object]:
        post = self._posts.filter(pk=pk).first()
        if post is not None and post.token is None:
            post.token = self._token(uuid.uuid4().hex)
            post.save(update_fields=["token"])
        return (post and post.token,)

    def make_token_once(self, pk: int) -> tuple[object]:
        self._posts.filter(pk=pk, token=None).update(token=self._token(secrets.token_hex(8)))
        return (self._posts.filter(pk=pk).values_list("token", flat=True).first(),)

    # Work that is claimed.

    def claim(self, pk: int) -> tuple[object]:
        free = self._jobs.filter(owner=None).values("pk")[:1]
        return (self._jobs.filter(pk=Subquery(free)).update(owner=self.name) == 1,)

    def claim_unclaimed(self, pk: int) -> tuple[object]:
        free = self._jobs.filter(owner=None).first()
        return (free and self._jobs.filter(pk=free.pk, owner=None).update(owner=self.name) == 1,)

    def claim_and_save(self, pk: int) -> tuple[object]:
        free = self._jobs.filter(owner=None).first()
        if free is not None:
            free.owner = self.name
            free.save()
        return (free is not None,)

    def claim_locked(self, pk: int) -> tuple[object]:
        skip = connections[self.using].features.has_select_for_update_skip_locked
        with transaction.atomic(self.using):
            free = self._jobs.select_for_update(skip_locked=skip).filter(owner=None).first()
            if free is not None:
                free.owner = self.name
                free.save()
            return (free is not None,)

    def release(self, pk: int) -> tuple[object]:
        return (self._jobs.filter(owner=self.name).update(owner=None) > 0,)

    def free(self, pk: int) -> tuple[object]:
        return (self._jobs.filter(owner=None).count(),)

    def drop_unless_last(self, pk: int) -> tuple[object]:
        others = "(SELECT number FROM (SELECT count(*) AS number FROM office_job) AS counted)"
        return (self._execute(f"DELETE FROM office_job WHERE id = {pk} AND {others} > 1") == 1,)

    # Numbers of bills.

    def bill(self, pk: int) -> tuple[object, Kind]:
        return self._bills.create().pk, "key"

    def bill_by_count(self, pk: int) -> tuple[object]:
        return (self._bills.create(number=self._bills.count() + 1).number,)

    def bill_by_maximum(self, pk: int) -> tuple[object]:
        return (self._bills.create(number=(self._bills.aggregate(last=Max("number"))["last"] or 0) + 1).number,)

    def bill_by_subquery(self, pk: int) -> tuple[object]:
        last = self._bills.order_by("-number").values("number")[:1]
        self._bills.create(number=Coalesce(Subquery(last), 0) + 1)
        return (None,)

    def _last_bill(self) -> int:
        last: int | None = self._bills.aggregate(last=Max("pk"))["last"]
        return last or 0

    def bill_after_last(self, pk: int) -> tuple[object, Kind]:
        return self._bills.create(after=self._last_bill() + 1).after, "after"

    def bill_by_code(self, pk: int) -> tuple[object]:
        self._bills.create(code=f"2024/{self._last_bill() + 1}")
        return (None,)

    def bill_behind_last(self, pk: int) -> tuple[object]:
        self._bills.create(before=self._last_bill() or None)
        return (None,)

    def bill_telling(self, pk: int) -> tuple[object, Kind]:
        number = self._last_bill() + 1
        self._bills.create()
        return number, "after"

    def bill_once(self, pk: int) -> tuple[object]:
        there = "SELECT 1 FROM office_bill WHERE code = 'once'"
        row = f"SELECT 0, 'once' FROM (SELECT 1 AS one) AS here WHERE NOT EXISTS ({there})"
        return (self._execute(f"INSERT INTO office_bill (number, code) {row}") == 1,)

    def bills(self, pk: int) -> tuple[object]:
        return (self._bills.count(),)

    # Names that are unique.

    def take(self, pk: int) -> tuple[object]:
        return (self._handles.get_or_create(name="xy"[pk - 1])[1],)

    def take_unless_taken(self, pk: int) -> tuple[object]:
        if self._handles.filter(name="xy"[pk - 1]).exists():
            return (False,)
        return (self._handles.create(name="xy"[pk - 1]) is not None,)

    def use(self, pk: int) -> tuple[object]:
        return (self._handles.update_or_create(name="xy"[pk - 1], defaults={"uses": self._number + 1})[1],)

    def give_up(self, pk: int) -> tuple[object]:
        return (self._handles.filter(name="xy"[pk - 1]).delete()[0] > 0,)

    def handles(self, pk: int) -> tuple[object]:
        return (list(self._handles.order_by("name").values_list("name", "uses")),)


THEMES = (  # the names of operations that have much to do with each other
    ("read", "total", "put", "swap", "add", "add_if_few", "add_to_all", "close_popular", "add_in_vain", "add_later"),
    ("read", "put", "add", "add_and_save", "add_and_save_field", "add_locked", "lock"),
    ("reply", "replies", "raise_replies", "delete", "count_into", "count_into_by_database", "add_to_all"),
    ("note_time", "rename", "touch", "touch_by_database", "touched", "log", "make_token", "make_token_once"),
    ("claim", "claim_unclaimed", "claim_and_save", "claim_locked", "release", "free", "drop_unless_last"),
    ("bill", "bill_by_count", "bill_by_maximum", "bill_by_subquery", "bills", "bill_once"),
    ("bill", "bill_after_last", "bill_by_code", "bill_behind_last", "bill_telling", "bill_once"),
    ("take", "take", "take_unless_taken", "use", "give_up", "handles"),
)
