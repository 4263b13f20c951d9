"""The first steps of a wrapper that is a new interpreter."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Perform the call that comes in over stdin, report over stdout, and end."""
    if len(sys.argv) > 1:
        from . import reaper

        reaper.stay_above(int(sys.argv[1]))
    perform()


def perform() -> NoReturn:
    """The same, in the process that is to do it."""
    from ..base import pickling
    from .protocol import Channel, Kind
    from .surroundings import guard_descriptors
    from .wrapper import Performer

    channel = Channel(os.dup(0), os.dup(1))  # not inheritable, so that no grandchild holds them
    guard_descriptors(2)
    context = pickling.loads(channel.expect(Kind.CONTEXT))
    Performer(channel, context).perform()
