"""Calls that draw from all that is left to chance."""

import os
import random
import secrets
import tempfile
import time
import uuid
from datetime import UTC, datetime
from random import Random, SystemRandom
from typing import Any

from django.db.models import F
from django.utils import timezone
from django.utils.crypto import get_random_string

from .models import Counter

made_at_import = Random()


def draw(pk: int, using: str) -> dict[str, Any]:
    """Draw once from everything, after a statement that the other call has to meet."""
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1)
    with tempfile.NamedTemporaryFile() as file:
        name = file.name
    return {
        "random": random.random(),
        "made at import": made_at_import.random(),
        "made now": Random().random(),
        "system": SystemRandom().random(),
        "urandom": os.urandom(8),
        "getrandom": os.getrandom(8),
        "secrets": secrets.token_hex(),
        "django": get_random_string(12),
        "uuid1": uuid.uuid1(),
        "uuid4": uuid.uuid4(),
        "temporary file": name,
        "time": time.time(),
        "now": timezone.now(),
    }


def wait(pk: int, using: str) -> tuple[datetime, datetime, float]:
    """Look at the clocks before and after some real time."""
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1)
    before, begun = datetime.now(UTC), time.monotonic()
    time.sleep(0.02)
    return before, datetime.now(UTC), time.monotonic() - begun


def draw_in_order(pk: int, using: str) -> tuple[float, list[str]]:
    """Draw a number, and the order of a set, which the seed of hashes decides."""
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1)
    return made_at_import.random(), list({f"text {number}" for number in range(20)})
