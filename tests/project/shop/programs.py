"""Small programs as data, for calls that somebody made up at random."""

from collections.abc import Sequence

from django.db import DatabaseError, transaction
from django.db.models import F, Max

from tests.project.shop.models import Account, Coupon, Show, Ticket, Voucher

Operation = tuple[str, int]
Block = tuple[bool, Sequence[Operation]]  # whether in atomic

THEMES = (
    ("read", "read", "put", "put", "add", "lock", "vain"),
    ("sell", "close", "count"),
    ("claim", "voucher", "count"),
    ("row", "row", "find", "drop", "put", "add", "some", "poor", "lock"),
    ("pass", "pass", "move", "show pass", "drop pass", "voucher"),
    ("sell", "seat", "title", "close", "book", "shows"),
    ("print", "print", "sign", "keep", "tear", "next", "odd"),
    ("print", "print", "sign", "keep", "newest", "highest", "hang", "count", "title", "sell"),
    ("print", "sell", "who", "who", "how many", "call", "seat", "sign", "tear", "book"),
    ("pass", "pass", "pass", "lock pass", "lock pass", "find pass", "move", "show pass", "drop pass", "voucher"),
)


def run(blocks: Sequence[Block], using: str) -> list[object]:
    """Run blocks of operations one by one or in `atomic`; returns what they saw, and the errors of blocks by name."""
    seen: list[object] = []
    for atomic, operations in blocks:
        try:
            if atomic:
                with transaction.atomic(using):
                    _run_all(operations, using, seen)
            else:
                _run_all(operations, using, seen)
        except DatabaseError as error:
            seen.append(type(error).__name__)
    return seen


def _run_all(operations: Sequence[Operation], using: str, seen: list[object]) -> None:
    for verb, pk in operations:
        seen.append(_run_one(verb, pk, using, seen))


def _run_one(verb: str, pk: int, using: str, seen: list[object]) -> object:
    accounts = Account.objects.using(using).filter(pk=pk)
    numbers = [each for each in seen if isinstance(each, int)]
    printed = [each for each in seen if isinstance(each, str) and each.isdecimal()]
    own = Ticket.objects.using(using).filter(pk=int(printed[-1]) if printed else 0)
    match verb:
        case "read":
            return accounts.get().balance
        case "put":
            return accounts.update(balance=(numbers[-1] if numbers else 0) * 2 + 1) and None
        case "add":
            return accounts.update(balance=F("balance") * 3 + 1) and None
        case "lock" if using != "file":
            with transaction.atomic(using):
                return accounts.select_for_update().get().balance
        case "claim":
            if not Coupon.objects.using(using).filter(code="x").exists():
                Coupon.objects.using(using).create(code="x")
            return None
        case "voucher":
            return Voucher.objects.using(using).get_or_create(code="x")[1]
        case "sell":
            Ticket.objects.using(using).create(show_id=pk, buyer="ada")
            return None
        case "print":
            return str(Ticket.objects.using(using).create(show_id=pk, buyer="joe").pk)
        case "sign":
            return own.update(buyer="eve")
        case "keep":
            return list(own.values_list("buyer", flat=True))
        case "tear":
            return own.delete()[0]
        case "next":
            return list(
                Ticket.objects.using(using).filter(pk=int(printed[-1]) + pk if printed else 2).values_list("pk")
            )
        case "odd":
            odd = int(printed[-1]) % 2 + 1 if printed else pk
            return Account.objects.using(using).filter(pk=odd).update(balance=F("balance") * 3 + pk)
        case "newest":
            return list(Ticket.objects.using(using).order_by("-pk").values_list("pk")[:1])
        case "highest":
            return Ticket.objects.using(using).aggregate(highest=Max("pk"))["highest"]
        case "hang":
            return Show.objects.using(using).filter(pk=pk).update(title=printed[-1] if printed else "none")
        case "close":
            return Show.objects.using(using).filter(pk=pk).delete()[0]
        case "row":
            return Account.objects.using(using).create(pk=pk + 1, owner="eve", balance=7).pk
        case "find":
            return accounts.filter(pk=pk + 1).count()
        case "drop":
            return Account.objects.using(using).filter(pk=pk + 1).delete()[0]
        case "some":
            return sum(Account.objects.using(using).filter(pk__in=[pk, 3]).values_list("balance", flat=True))
        case "poor":
            return Account.objects.using(using).filter(balance=1).update(balance=F("balance") + pk)
        case "pass":
            return Voucher.objects.using(using).create(pk=pk + len(seen), code="xyz"[pk]).pk
        case "move":
            return Voucher.objects.using(using).filter(pk=49 + pk).update(code="xy"[pk - 1])
        case "show pass":
            return list(Voucher.objects.using(using).filter(pk=49 + pk).values_list("code", flat=True))
        case "drop pass":
            return Voucher.objects.using(using).filter(pk=49 + pk).delete()[0]
        case "lock pass" if using != "file":
            with transaction.atomic(using):
                return list(Voucher.objects.using(using).select_for_update().filter(pk=49 + pk).values_list("code"))
        case "find pass" if using != "file":
            with transaction.atomic(using):
                return list(Voucher.objects.using(using).select_for_update().filter(code="xyz"[pk]).values_list("pk"))
        case "who":
            return sorted(Ticket.objects.using(using).filter(show_id=pk).values_list("pk", "buyer"))
        case "how many":
            return Ticket.objects.using(using).filter(show_id=pk, buyer__in=["ada", "joe"]).count()
        case "call" if using != "file":
            with transaction.atomic(using):
                return sorted(
                    Ticket.objects.using(using).select_for_update().filter(show_id=pk, buyer="eve").values_list("pk")
                )
        case "seat":
            return Ticket.objects.using(using).filter(pk=50).update(show_id=pk)
        case "title":
            return Show.objects.using(using).filter(pk=pk).update(title="new")
        case "book":
            return Ticket.objects.using(using).create(pk=pk + 100, show_id=3 - pk, buyer="joe").pk
        case "shows":
            return [show.title for show in Show.objects.using(using).filter(pk=pk)]
        case "vain":
            with transaction.atomic(using):
                accounts.update(balance=0)
                transaction.set_rollback(True, using)
            return None
    return Ticket.objects.using(using).count() + 10 * Coupon.objects.using(using).count()
