"""Hypothesis without a deadline: torch's first call of an operation takes a second on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
