"""The catalogue of races, and what repairs each of them."""

from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.models import F, Max

from tests.project.shop.models import Account, Counter, Coupon, Doctor, Show, Ticket, Voucher


def repeated(function: Callable[..., Any], times: int = 5, **kwargs: Any) -> Any:
    """Call a function again as long as the database asks for that."""
    for _ in range(times - 1):
        try:
            return function(**kwargs)
        except OperationalError:
            continue
    return function(**kwargs)


# Lost updates


def add(pk: int, amount: int, using: str) -> int:
    """Read, add, write."""
    account = Account.objects.using(using).get(pk=pk)
    account.balance += amount
    account.save()
    return account.balance


def add_in_atomic(pk: int, amount: int, using: str) -> int:
    with transaction.atomic(using):
        return add(pk, amount, using)


def add_locked(pk: int, amount: int, using: str) -> int:
    with transaction.atomic(using):
        account = Account.objects.using(using).select_for_update().get(pk=pk)
        account.balance += amount
        account.save()
        return account.balance


def add_in_database(pk: int, amount: int, using: str) -> int:
    return Account.objects.using(using).filter(pk=pk).update(balance=F("balance") + amount)


def add_repeatedly(pk: int, amount: int, using: str) -> None:
    repeated(add_in_atomic, pk=pk, amount=amount, using=using)


# Inserts


def claim(code: str, using: str) -> bool:
    """Look, and insert if nothing is there."""
    if Coupon.objects.using(using).filter(code=code).exists():
        return False
    Coupon.objects.using(using).create(code=code)
    return True


def claim_unique(code: str, using: str) -> bool:
    """The same in a table that takes a code once."""
    if Voucher.objects.using(using).filter(code=code).exists():
        return False
    Voucher.objects.using(using).create(code=code)
    return True


def claim_caught(code: str, using: str) -> bool:
    """The same, with the error of the one who comes too late taken for a no."""
    if Voucher.objects.using(using).filter(code=code).exists():
        return False
    try:
        with transaction.atomic(using):
            Voucher.objects.using(using).create(code=code)
    except IntegrityError:
        return False
    return True


def get_or_create(code: str, using: str) -> bool:
    return Coupon.objects.using(using).get_or_create(code=code)[1]


def get_or_create_unique(code: str, using: str) -> bool:
    return Voucher.objects.using(using).get_or_create(code=code)[1]


# Write skew and phantoms


def go_off_call(name: str, using: str) -> bool:
    """Leave, if somebody else stays."""
    with transaction.atomic(using):
        if Doctor.objects.using(using).filter(on_call=True).count() < 2:
            return False
        Doctor.objects.using(using).filter(name=name).update(on_call=False)
        return True


def go_off_call_locking(name: str, using: str) -> bool:
    with transaction.atomic(using):
        if len(Doctor.objects.using(using).filter(on_call=True).order_by("pk").select_for_update()) < 2:
            return False
        Doctor.objects.using(using).filter(name=name).update(on_call=False)
        return True


def go_off_call_repeatedly(name: str, using: str) -> bool:
    return bool(repeated(go_off_call, name=name, using=using))


def book(show_id: int, buyer: str, using: str) -> bool:
    """Sell a ticket if fewer were sold than there are seats."""
    show = Show.objects.using(using).get(pk=show_id)
    if show.ticket_set.count() >= show.seats_left:
        return False
    Ticket.objects.using(using).create(show=show, buyer=buyer)
    return True


def book_in_atomic(show_id: int, buyer: str, using: str) -> bool:
    with transaction.atomic(using):
        return book(show_id, buyer, using)


def book_locked(show_id: int, buyer: str, using: str) -> bool:
    """The show stands for its tickets, also for those that are not there yet."""
    with transaction.atomic(using):
        show = Show.objects.using(using).select_for_update().get(pk=show_id)
        if show.ticket_set.count() >= show.seats_left:
            return False
        Ticket.objects.using(using).create(show=show, buyer=buyer)
        return True


# Deadlocks


def move(source: int, target: int, amount: int, using: str) -> None:
    with transaction.atomic(using):
        add_in_database(source, -amount, using)
        add_in_database(target, amount, using)


def move_in_order(source: int, target: int, amount: int, using: str) -> None:
    with transaction.atomic(using):
        for pk in sorted((source, target)):
            add_in_database(pk, amount if pk == target else -amount, using)


# Three calls


def copy_balance(source: int, target: int, using: str) -> None:
    account = Account.objects.using(using).get(pk=source)
    Account.objects.using(using).filter(pk=target).update(balance=account.balance)


def copy_balance_locked(source: int, target: int, using: str) -> None:
    with transaction.atomic(using):
        accounts = {each.pk: each for each in Account.objects.using(using).order_by("pk").select_for_update()}
        Account.objects.using(using).filter(pk=target).update(balance=accounts[source].balance)


# Waiting with an old snapshot


def sell_and_count(show_id: int, buyer: str, using: str) -> None:
    """Sell a ticket, and count it in the show."""
    with transaction.atomic(using):
        Show.objects.using(using).filter(pk=show_id).update(seats_left=F("seats_left") - 1)
        Ticket.objects.using(using).create(show_id=show_id, buyer=buyer)


def recount(show_id: int, using: str) -> None:
    """Put the number of tickets sold where it belongs, in one statement."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "UPDATE shop_show SET seats_left = 10 - (SELECT COUNT(*) FROM shop_ticket WHERE show_id = %s) "
            "WHERE id = %s",
            [show_id, show_id],
        )


def recount_locked(show_id: int, using: str) -> None:
    with transaction.atomic(using):
        Show.objects.using(using).select_for_update().get(pk=show_id)
        recount(show_id, using)


# More than one preemption


def open_both(using: str) -> None:
    for pk in (1, 2):
        Counter.objects.using(using).filter(pk=pk).update(value=1)


def add_thrice(using: str) -> None:
    for _ in range(3):
        Counter.objects.using(using).filter(pk=1).update(value=F("value") + 1)


def look_thrice(using: str) -> str:
    """Only what opens between the first look and the second, and no further before the third, is noticed."""
    seen = [Counter.objects.using(using).get(pk=pk).value for pk in (1, 1, 2)]
    return "torn" if seen == [0, 1, 0] else "whole"


def look_once(using: str) -> str:
    seen = dict(Counter.objects.using(using).values_list("pk", "value"))
    return "torn" if (seen[1], seen[2]) == (0, 1) else "whole"


# Rows that the database numbers


def order(buyer: str, using: str) -> int:
    """Place an order of two tickets, and look at it again."""
    with transaction.atomic(using):
        show = Show.objects.using(using).create(title=buyer, seats_left=2)
        for _ in range(2):
            Ticket.objects.using(using).create(show=show, buyer=buyer)
        Show.objects.using(using).filter(pk=show.pk).update(seats_left=F("seats_left") - 2)
        return Show.objects.using(using).get(pk=show.pk).seats_left


def order_and_count(buyer: str, using: str) -> int:
    """The same, with the number of all shows for an answer."""
    order(buyer, using)
    return Show.objects.using(using).count()


def order_numbered(buyer: str, using: str) -> None:
    """Give the order the number after the highest."""
    highest = Show.objects.using(using).aggregate(highest=Max("seats_left"))["highest"] or 0
    Show.objects.using(using).create(title=buyer, seats_left=highest + 1)


def order_newest(buyer: str, using: str) -> str:
    """Take the newest row for one's own."""
    Show.objects.using(using).create(title=buyer, seats_left=1)
    newest = Show.objects.using(using).order_by("-pk").first()
    assert newest is not None
    return newest.title


def order_with_name(buyer: str, using: str) -> bool:
    """Take a name that only one can have, unless it is taken."""
    Show.objects.using(using).create(title=buyer, seats_left=1)
    return claim_unique("x", using)


def order_with_code(buyer: str, using: str) -> int:
    """Use a code of its own, in which any number may be that of a row."""
    order(buyer, using)
    Voucher.objects.using(using).create(code=f"123456789-{buyer}")
    return Ticket.objects.using(using).filter(show__title=buyer).count()


def order_with_code_of_number(buyer: str, using: str) -> bool:
    """Use a code that is made from the highest number."""
    Show.objects.using(using).create(title=buyer, seats_left=1)
    return claim_unique(f"{Show.objects.using(using).aggregate(highest=Max('pk'))['highest']}-x", using)


def order_of_half(buyer: str, using: str) -> None:
    """Count orders in a row whose number is made from that of the last of two."""
    for _ in range(2):
        show = Show.objects.using(using).create(title=buyer, seats_left=1)
    counter = Counter.objects.using(using).get(pk=show.pk % 2 + 1)
    counter.value += 1
    counter.save()


def numbers_apart(first: int, default: bool, using: str) -> int:
    """Make two rows with keys of one's own, of which the database numbers another column; how far apart are they?"""
    names, marks = ("(id, number)", "(%s, DEFAULT)") if default else ("(id)", "(%s)")
    numbers: list[int] = []
    with connections[using].cursor() as cursor:
        for key in (first, first + 1):
            cursor.execute(f"INSERT INTO shop_receipt {names} VALUES {marks} RETURNING number", [key])
            numbers.append(cursor.fetchall()[0][0])
    return numbers[1] - numbers[0]


def renumbers_apart(first: int, using: str) -> int:
    """Give two rows the next numbers."""
    numbers: list[int] = []
    with connections[using].cursor() as cursor:
        for key in (first, first + 1):
            cursor.execute("UPDATE shop_receipt SET number = DEFAULT WHERE id = %s RETURNING number", [key])
            numbers.append(cursor.fetchall()[0][0])
    return numbers[1] - numbers[0]


# Windows far apart


def add_late(pk: int, using: str, function: str = "add") -> None:
    """Eight queries of another table, and then the window."""
    for number in range(8):
        Doctor.objects.using(using).filter(pk=number).exists()
    ADDING[function](pk=pk, amount=1, using=using)


def add_early(pk: int, using: str, function: str = "add") -> None:
    """The window, and then eight queries of another table."""
    ADDING[function](pk=pk, amount=1, using=using)
    for number in range(8):
        Doctor.objects.using(using).filter(pk=number).exists()


ADDING: dict[str, Callable[..., object]] = {
    "add": add,
    "add_in_atomic": add_in_atomic,
    "add_locked": add_locked,
    "add_in_database": add_in_database,
}
