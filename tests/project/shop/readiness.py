"""What makes a call ready, and calls that tell whether it was theirs."""

from pathlib import Path

from django.db.models import F

from tests.project.shop.models import Account, Counter


def sign_in(using: str) -> None:
    """Leave a row for each call, as a login leaves a session."""
    Counter.objects.using(using).create(name="visits")
    Account.objects.using(using).filter(pk=1).update(owner="somebody")


def deposit(using: str) -> tuple[int, str]:
    """Return how many have signed in, and who has."""
    Account.objects.using(using).filter(pk=1).update(balance=F("balance") + 1)
    return Counter.objects.using(using).count(), Account.objects.using(using).get(pk=1).owner


def deposit_badly(using: str) -> int:
    account = Account.objects.using(using).get(pk=1)
    account.balance += 1
    account.save()
    return Counter.objects.using(using).count()


def count_in_file(path: Path, using: str) -> None:
    """Read a file before the first statement, and write it after the last."""
    count = int(path.read_text())
    Account.objects.using(using).filter(pk=1).update(balance=F("balance") + 1)
    path.write_text(str(count + 1))
