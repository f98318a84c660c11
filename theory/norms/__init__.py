"""Operator norms as certified upper bounds, each with its method named and a lower bound beside it.

``spectral_norm`` of a matrix, ``conv_spectral_norm`` of a convolution layer (``circular_norm``, ``padded_norm``,
``toeplitz_norm`` and the size-free ``size_free_norm``, ``unfolding_norm``, ``self_correlation_norm`` by name);
Frobenius, (2,1) and (1,inf) norms of matrices, kernels and of the explicit matrix ``toeplitz_matrix``; pooling. Of a
whole network: ``layer_norms``, ``path_norm``, ``network_lipschitz``, ``difference_lipschitz``,
``bi_lipschitz`` of residual features, ``orthogonal_products``; ``smallest_gain`` is the least singular value.
"""

from theory.norms._record import NormBracket
from theory.norms.circular import circular_norm
from theory.norms.convolution import conv_spectral_norm
from theory.norms.dense import frobenius_norm, norm_1_inf, norm_2_1, spectral_norm
from theory.norms.geometry import output_size
from theory.norms.kernels import filter_norm_2_1, tap_norms
from theory.norms.layers import LayerNorms, layer_norms
from theory.norms.lipschitz import difference_lipschitz, network_lipschitz
from theory.norms.orthogonal import (
    Orthogonality,
    OrthogonalProducts,
    orthogonal_products,
    orthogonality,
    real_form,
)
from theory.norms.padded import padded_norm
from theory.norms.path import PathNorm, path_norm
from theory.norms.pooling import average_pool_norm, max_pool_lipschitz
from theory.norms.residual import BiLipschitz, ResidualBlock, bi_lipschitz
from theory.norms.size_free import self_correlation_norm, size_free_norm, unfolding_norm
from theory.norms.smallest import smallest_gain
from theory.norms.toeplitz import toeplitz_frobenius, toeplitz_matrix, toeplitz_norm, toeplitz_norm_2_1

__all__ = [
    "BiLipschitz",
    "LayerNorms",
    "NormBracket",
    "OrthogonalProducts",
    "Orthogonality",
    "PathNorm",
    "ResidualBlock",
    "average_pool_norm",
    "bi_lipschitz",
    "circular_norm",
    "conv_spectral_norm",
    "difference_lipschitz",
    "filter_norm_2_1",
    "frobenius_norm",
    "layer_norms",
    "max_pool_lipschitz",
    "network_lipschitz",
    "norm_1_inf",
    "norm_2_1",
    "orthogonal_products",
    "orthogonality",
    "output_size",
    "padded_norm",
    "path_norm",
    "real_form",
    "self_correlation_norm",
    "size_free_norm",
    "smallest_gain",
    "spectral_norm",
    "tap_norms",
    "toeplitz_frobenius",
    "toeplitz_matrix",
    "toeplitz_norm",
    "toeplitz_norm_2_1",
    "unfolding_norm",
]
