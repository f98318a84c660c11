"""Problems for the discrete algorithms, and the gradient of a loss from the network's own product."""

import numpy as np

from theory.flow import fully_connected, two_layer
from theory.flow.losses import as_loss


def regression(seed=0, N=7, d=4):
    """Linear network, data, H = X^T X, the least squares solution, a start."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((N, d)), rng.standard_normal(N)
    return fully_connected((d, 1)), (X, y), X.T @ X, np.linalg.lstsq(X, y, rcond=None)[0], rng.standard_normal(d)


def classification(seed=0, N=8, d=3, m=10, **options):
    rng = np.random.default_rng(seed)
    network = two_layer(d, m, **options)
    data = rng.standard_normal((N, d)), rng.choice([-1.0, 1.0], N)
    return network, data, network.random_parameters(rng=seed + 1)


def loss_gradient(network, data, loss, theta):
    X, law = np.asarray(data[0]), as_loss(loss)
    y = law.labels(np.asarray(data[1]), len(X), network.n_outputs)
    return -network.vjp(theta, X, law.slope(network.output(theta, X), y))
