"""What exploring finds, told by page and terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from aioconcurrent.report.page import as_page
from aioconcurrent.report.story import Story
from aioconcurrent.report.terminal import print_story
from aioconcurrent.sync import explore
from tests.project.databases import on
from tests.project.shop.models import Counter
