r"""Kernels of networks: tangent kernels, path kernels, activation codes, and training as a kernel method.

``relu_kernels`` gives the limits of wide ReLU perceptrons, ``empirical_tangent_kernel`` the kernel of one network;
``tangent_trajectory`` measures, and ``lazy_certificate`` proves for one start, what over-parameterisation promises;
``path_features`` writes a network as paths, ``activation_code_score`` scores its binary codes.

>>> import numpy as np
>>> X = np.array([[1.0, 0.0], [0.6, 0.8]])
>>> found = relu_kernels(X, depth=2)
>>> bool(np.isclose(found.tangent[0, 1], found.nngp[0, 1] + 2 * found.on_both[0][0, 1] * 0.6))
True
"""

from __future__ import annotations

from theory.kernels.certificate import LazyCertificate, lazy_certificate
from theory.kernels.codes import activation_code_score, hamming_kernel
from theory.kernels.empirical import empirical_tangent_kernel
from theory.kernels.lazy import TangentTrajectory, descent_residual, kernel_movement, tangent_trajectory
from theory.kernels.paths import PathFeatures, path_features, path_value_norm
from theory.kernels.relu import ReluKernels, first_layer_kernel, relu_kernels

__all__ = [
    "LazyCertificate", "PathFeatures", "ReluKernels", "TangentTrajectory", "activation_code_score", "descent_residual",
    "empirical_tangent_kernel", "first_layer_kernel", "hamming_kernel", "kernel_movement", "lazy_certificate",
    "path_features", "path_value_norm", "relu_kernels", "tangent_trajectory",
]  # fmt: skip
