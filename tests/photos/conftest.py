"""One real photo."""

from __future__ import annotations

import numpy as np
import pytest
from photo_scenes import REAL_PHOTO

from scr3d.data.images import read_image


@pytest.fixture(scope="session")
def real_photo() -> np.ndarray:
    """A portrait of 512x600 pixels, in the public domain, that comes with Matplotlib."""
    return read_image(REAL_PHOTO)
