"""Programs whose races have to be told well, and what they are when the hint was followed."""

from __future__ import annotations

from contextlib import nullcontext

from django.core.cache import cache
from django.db import transaction
from django.db.models import F, Max, Sum
from django.utils import timezone

from tests.project.office.models import Card, Handle, Parcel, Piece, Post, Reply
from tests.project.shop.models import Account, Counter, Coupon, Doctor, Show, Ticket, Voucher

LONG = "a text of which only the end is ever changed, so that its beginning tells nothing: "


def start(using: str) -> None:
    """The rows that all programs begin with."""
    Account.objects.using(using).bulk_create([Account(pk=11, balance=100), Account(pk=12, balance=0)])
    Post.objects.using(using).bulk_create([Post(pk=11, likes=100, note=LONG), Post(pk=12)])
    Reply.objects.using(using).create(pk=11, post_id=12)
    Parcel.objects.using(using).create(pk=11, note="old")
    Show.objects.using(using).create(pk=11, title="Hamlet", seats_left=1)
    Doctor.objects.using(using).bulk_create([Doctor(pk=11, name="ann"), Doctor(pk=12, name="bob")])
    Counter.objects.using(using).create(pk=11, value=7)
    Card.objects.using(using).create(pk=11)


def like(using: str, *, fixed: bool = False) -> None:
    """The replies are counted first, and of another post."""
    Reply.objects.using(using).count()
    if fixed:
        Post.objects.using(using).filter(pk=11).update(likes=F("likes") + 1)
        return
    post = Post.objects.using(using).only("pk", "likes").get(pk=11)
    post.likes += 1
    post.save(using=using, update_fields=["likes"])


def withdraw(using: str, amount: int, *, fixed: bool = False) -> bool:
    if fixed:
        rows = Account.objects.using(using).filter(pk=11, balance__gte=amount)
        return bool(rows.update(balance=F("balance") - amount))
    account = Account.objects.using(using).get(pk=11)
    if account.balance < amount:
        return False
    account.balance -= amount
    account.save(using=using)
    return True


def spend(using: str, amount: int, *, fixed: bool = False) -> bool:
    """The check comes before an update that is right by itself."""
    rows = Account.objects.using(using).filter(pk=11)
    if fixed:
        return bool(rows.filter(balance__gte=amount).update(balance=F("balance") - amount))
    if rows.get().balance < amount:
        return False
    rows.update(balance=F("balance") - amount)
    return True


def leave_state(using: str, state: str, *, fixed: bool = False) -> bool:
    """A parcel that is paid is shipped or cancelled once."""
    if fixed:
        return bool(Parcel.objects.using(using).filter(pk=11, status="paid").update(status=state))
    parcel = Parcel.objects.using(using).get(pk=11)
    if parcel.status != "paid":
        return False
    parcel.status = state
    parcel.save(using=using)
    return True


def set_status(using: str, *, fixed: bool = False) -> None:
    parcel = Parcel.objects.using(using).get(pk=11)
    parcel.status = "lost"
    parcel.save(using=using, update_fields=["status"] if fixed else None)


def set_note(using: str, *, fixed: bool = False) -> None:
    parcel = Parcel.objects.using(using).get(pk=11)
    parcel.note = "fragile"
    parcel.save(using=using, update_fields=["note"] if fixed else None)


def remind(using: str, *, fixed: bool = False) -> bool:
    """A reminder is sent once."""
    if fixed:
        rows = Parcel.objects.using(using).filter(pk=11, reminded_at__isnull=True)
        return bool(rows.update(reminded_at=timezone.now()))
    parcel = Parcel.objects.using(using).get(pk=11)
    if parcel.reminded_at is not None:
        return False
    parcel.reminded_at = timezone.now()
    parcel.save(using=using, update_fields=["reminded_at"])
    return True


def add_piece(using: str, price: int, *, fixed: bool = False) -> None:
    """The total is kept beside the pieces."""
    parcel = Parcel.objects.using(using).get(pk=11)
    Piece.objects.using(using).create(parcel=parcel, price=price)
    if fixed:
        Parcel.objects.using(using).filter(pk=11).update(total=F("total") + price)
        return
    parcel.total = Piece.objects.using(using).filter(parcel=parcel).aggregate(sum=Sum("price"))["sum"]
    parcel.save(using=using, update_fields=["total"])


def lock_too_late(using: str, amount: int, *, fixed: bool = False) -> None:
    account = Account.objects.using(using).get(pk=11)
    with transaction.atomic(using):
        locked = Account.objects.using(using).select_for_update().get(pk=11)
        if fixed:
            account = locked
        account.balance -= amount
        account.save(using=using)


def delete_paid(using: str) -> None:
    parcel = Parcel.objects.using(using).filter(pk=11).first()
    if parcel is not None:
        parcel.delete()


def note_if_there(using: str, *, fixed: bool = False) -> None:
    if fixed:
        Parcel.objects.using(using).filter(pk=11).update(note="late")
        return
    parcel = Parcel.objects.using(using).filter(pk=11).first()
    if parcel is not None:
        parcel.note = "late"
        parcel.save(using=using)


def report(using: str, *, fixed: bool = False) -> int:
    rows = Account.objects.using(using)
    if fixed:
        return sum(account.balance for account in rows.filter(pk__in=[11, 12]))
    return rows.get(pk=11).balance + rows.get(pk=12).balance


def move(using: str, amount: int) -> None:
    with transaction.atomic(using):
        for pk, change in ((11, -amount), (12, amount)):
            Account.objects.using(using).filter(pk=pk).update(balance=F("balance") + change)


def go_off_call(using: str, name: str, *, fixed: bool = False) -> bool:
    with transaction.atomic(using):
        rows = Doctor.objects.using(using).filter(on_call=True)
        count = len(rows.order_by("pk").select_for_update()) if fixed else rows.count()
        if count < 2:
            return False
        Doctor.objects.using(using).filter(name=name).update(on_call=False)
        return True


def count_visit(using: str, *, fixed: bool = False) -> int:
    if fixed:
        cache.add("visits", 0)
        return cache.incr("visits")
    visits = cache.get("visits", 0)
    cache.set("visits", visits + 1)
    return visits + 1  # type: ignore[no-any-return]


def cached_note(using: str, *, fixed: bool = False) -> None:
    if cache.get("note") is not None:
        return
    rows = Parcel.objects.using(using)
    with transaction.atomic(using) if fixed else nullcontext():
        cache.set("note", (rows.select_for_update() if fixed else rows).get(pk=11).note)


def change_note(using: str) -> None:
    with transaction.atomic(using):
        Parcel.objects.using(using).filter(pk=11).update(note="new")
        transaction.on_commit(lambda: cache.delete("note"), using=using)


def redeem(using: str, code: str, *, fixed: bool = False) -> bool:
    if fixed:
        return Voucher.objects.using(using).get_or_create(code=code)[1]
    if Coupon.objects.using(using).filter(code=code).exists():
        return False
    Coupon.objects.using(using).create(code=code)
    return True


def book(using: str, buyer: str, *, fixed: bool = False) -> bool:
    """A show has as many tickets as seats."""
    with transaction.atomic(using) if fixed else nullcontext():
        rows = Show.objects.using(using)
        show = (rows.select_for_update() if fixed else rows).get(pk=11)
        if Ticket.objects.using(using).filter(show=show).count() >= show.seats_left:
            return False
        Ticket.objects.using(using).create(show=show, buyer=buyer)
        return True


def take_number(using: str, *, fixed: bool = False) -> int:
    with transaction.atomic(using) if fixed else nullcontext():
        if fixed:
            Show.objects.using(using).select_for_update().get(pk=11)
        last = Counter.objects.using(using).aggregate(last=Max("value"))["last"]
        return Counter.objects.using(using).create(name="ticket", value=last + 1).value


def raise_counter(using: str, *, fixed: bool = False) -> int:
    """The number is read back after it was raised."""
    with transaction.atomic(using) if fixed else nullcontext():
        Counter.objects.using(using).filter(pk=11).update(value=F("value") + 1)
        return Counter.objects.using(using).get(pk=11).value


def append(using: str, end: str, *, fixed: bool = False) -> None:
    """A long text of which only the end is another."""
    with transaction.atomic(using) if fixed else nullcontext():
        rows = Post.objects.using(using)
        post = (rows.select_for_update() if fixed else rows).get(pk=11)
        post.note += end
        post.save(using=using, update_fields=["note"])


def use_up(using: str, *, fixed: bool = False) -> bool:
    """A card is used once, by deleting it."""
    rows = Card.objects.using(using).filter(pk=11)
    if fixed:
        return rows.delete()[0] == 1
    if not rows.exists():
        return False
    rows.delete()
    return True


def use_handle(using: str, *, fixed: bool = False) -> None:
    """The handle is made when it is first used."""
    rows = Handle.objects.using(using)
    handle, _ = rows.get_or_create(name="x")
    if fixed:
        rows.filter(pk=handle.pk).update(uses=F("uses") + 1)
        return
    handle.uses += 1
    handle.save(using=using)


def use_handle_looked_up(using: str, *, fixed: bool = False) -> None:
    """What is not there counts as not used."""
    rows = Handle.objects.using(using)
    if fixed:
        use_handle(using, fixed=True)
        return
    uses = rows.filter(name="x").values_list("uses", flat=True).first() or 0
    rows.update_or_create(name="x", defaults={"uses": uses + 1})


def answer_later(using: str, *, fixed: bool = False) -> int:
    """The row is there before the answer is in it."""
    with transaction.atomic(using) if fixed else nullcontext():
        handle, made = Handle.objects.using(using).get_or_create(name="x")
        if made:
            handle.uses = 5
            handle.save(using=using)
        return handle.uses


def choose(using: str, pk: int, *, fixed: bool = False) -> None:
    """One post is active, and no other."""
    with transaction.atomic(using) if fixed else nullcontext():
        if fixed:
            Show.objects.using(using).select_for_update().get(pk=11)
        Post.objects.using(using).update(active=False)
        Post.objects.using(using).filter(pk=pk).update(active=True)


def reply_while_active(using: str, *, fixed: bool = False) -> bool:
    with transaction.atomic(using) if fixed else nullcontext():
        rows = Post.objects.using(using)
        post = (rows.select_for_update() if fixed else rows).get(pk=11)
        if not post.active:
            return False
        Reply.objects.using(using).create(post=post)
        return True


def close_replies(using: str) -> int:
    """Nobody replies any more to what is not active; returns how many have."""
    Post.objects.using(using).filter(pk=11).update(active=False)
    return Reply.objects.using(using).filter(post=11).count()


def list_replies(using: str, *, fixed: bool = False) -> tuple[int, list[int]]:
    """How many there are, and which."""
    rows = Reply.objects.using(using).filter(post=11)
    count = 0 if fixed else rows.count()
    amounts = [reply.amount for reply in rows.order_by("pk")]
    return len(amounts) if fixed else count, amounts


def reply(using: str) -> None:
    Reply.objects.using(using).create(post_id=11, amount=3)


def book_and_look(using: str, buyer: str, *, fixed: bool = False) -> bool:
    """Who has booked counts afterwards, and gives the seat back if there was none."""
    with transaction.atomic(using):
        if fixed:
            Show.objects.using(using).select_for_update().get(pk=11)
        Ticket.objects.using(using).create(show_id=11, buyer=buyer)
        too_many = Ticket.objects.using(using).filter(show=11).count() > 1
        transaction.set_rollback(too_many, using)
        return not too_many


def spend_replies(using: str, amount: int, *, fixed: bool = False) -> bool:
    """The rows that are added up are locked; those that are added are not among them."""
    with transaction.atomic(using):
        if fixed:
            Post.objects.using(using).select_for_update().get(pk=12)
        if sum(each.amount for each in Reply.objects.using(using).select_for_update().filter(post=12)) < amount:
            return False
        Reply.objects.using(using).create(post_id=12, amount=-amount)
        return True


def renew_token(using: str, token: str) -> str | None:
    """Returns the token before; and nobody keeps the post from being renewed twice."""
    post = Post.objects.using(using).get(pk=11)
    before, post.token = post.token, token
    post.likes += 1
    post.save(using=using)
    return before
