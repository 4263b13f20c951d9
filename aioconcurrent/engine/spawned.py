"""The first steps of a wrapper that is a new interpreter."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from .. import _pickling
from . import lifeline
from .channel import Channel
from .frames import Kind
from .wrapper import Wrapper, guard_descriptors


def main() -> NoReturn:
    """Perform the call that comes in over stdin, report over stdout, and end."""
    if len(sys.argv) > 1:
        lifeline.end_with(int(sys.argv[1]))
    channel = Channel(os.dup(0), os.dup(1))  # not inheritable, so that no grandchild holds them
    guard_descriptors(2)
    context = _pickling.loads(channel.expect(Kind.CONTEXT))
    Wrapper(channel, context).perform()
