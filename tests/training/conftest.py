"""In every test of training code the test split stays closed."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _closed(closed_test_split: None) -> None:
    """See `closed_test_split`."""
