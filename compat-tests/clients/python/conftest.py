import os
import uuid

import pytest


@pytest.fixture
def bootstrap():
    return os.environ["BOOTSTRAP"]


@pytest.fixture
def name():
    """A name that no other test uses."""
    return f"python-{uuid.uuid4().hex[:12]}"
