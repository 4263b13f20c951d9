"""Two ways to sell a ticket; the demo shows this code and races it."""

from django.db import transaction
from django.db.models import F

from .models import Show, Ticket


def buy(show_id: int) -> bool:
    show = Show.objects.get(pk=show_id)
    if show.seats_left == 0:
        return False
    Ticket.objects.create(show=show)
    show.seats_left -= 1
    show.save()
    return True


@transaction.atomic
def buy_safely(show_id: int) -> bool:
    on_sale = Show.objects.filter(pk=show_id, seats_left__gt=0)
    if not on_sale.update(seats_left=F("seats_left") - 1):
        return False
    Ticket.objects.create(show_id=show_id)
    return True
