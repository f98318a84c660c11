"""The least shapes that the lazy certificate takes."""

import numpy as np
import pytest

from theory import InvalidInput
from theory.kernels.certificate import lazy_certificate


def test_one_sample_and_one_coordinate_are_enough_and_none_is_not():
    W, a = [[1.0], [-1.0], [2.0]], [0.5, -0.5, 0.25]
    found = lazy_certificate([[2.0]], [1.0], W, a)
    assert found.least_eigenvalue == pytest.approx(4 * (0.25 + 0.0625), rel=1e-9)  # the two units that are on
    assert found.residual == pytest.approx(abs(2 * 0.5 + 4 * 0.25 - 1), rel=1e-12)
    with pytest.raises(InvalidInput, match="at least one"):
        lazy_certificate(np.zeros((0, 1)), [], W, a)
