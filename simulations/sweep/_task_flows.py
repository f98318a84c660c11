"""The tasks ``flow`` and ``rho``: a network on a few points, integrated through its kinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import InvalidInput

if TYPE_CHECKING:
    from theory.flow.networks import LayeredNetwork

DATA = ("gaussians", "teacher", "iris", "wine", "breast_cancer", "digits")
TARGETS = ("signs", "one-hot", "centred")
TEACHER_WIDTH = 20


def flow(
    *, width: int, depth: int = 2, activation: str = "relu", slope: float | None = None, data: str = "gaussians",
    classes: int = 2, n: int = 10, d: int | None = None, separation: float | None = None, data_seed: int = 0,
    loss: str = "exponential", until: str = "log-loss:100", scale: float = 1.0, rtol: float = 1e-8,
    max_steps: int = 20_000, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """The gradient flow of a fully connected network, by ``theory.flow.integrate``.

    Parameters
    ----------
    width, depth, activation, slope : hidden units of a layer, weight layers, nonlinearity.
    data, classes, n, d, separation, data_seed : as in ``points``.
    loss : exponential or logistic for two classes, cross_entropy for any number.
    until, rtol, max_steps : as in ``integrate``. scale, seed : of the initial weights.

    Returns
    -------
    ``outcome`` in words, ``log_t``, ``log_inverse_loss``, ``margin`` and ``smoothed_margin`` (over ||theta||^L),
    ``kkt_eps`` with its bracket ``kkt_lower`` and ``kkt_upper``, ``kkt_delta``, ``kkt_size`` (||theta|| at margin 1, to
    which eps compares), ``conservation_drift``, ``clock_error``, ``steps``, ``switches``; the KKT numbers are None
    where a point is not classified.

    Raises
    ------
    InvalidInput : numbers out of range, a loss for another number of classes. NotConverged : the end was not reached.

    Examples
    --------
    >>> found = flow(width=4, n=2, d=2, until="log-loss:30")
    >>> round(found["log_inverse_loss"], 6), bool(0 < found["kkt_lower"] <= found["kkt_upper"])
    (30.0, True)
    """
    from theory.flow import integrate, kkt_certificate

    if loss not in ("exponential", "logistic", "cross_entropy"):
        raise InvalidInput(f"loss must be exponential, logistic or cross_entropy, but is {loss!r}; task rho is square.")
    X, labels = points(data, classes=classes, n=n, d=d, separation=separation, data_seed=data_seed)
    y: np.ndarray = labels
    if loss != "cross_entropy":
        if classes != 2:
            raise InvalidInput(f"the {loss} loss takes two classes, but classes is {classes}; use cross_entropy.")
        y = 2.0 * labels - 1
    net = _network(X.shape[1], width, depth, 1 if loss != "cross_entropy" else classes, activation, slope)
    found = integrate(net, (X, y), loss, net.random_parameters(rng=seed, scale=scale), until=until, rtol=rtol,
                      max_steps=max_steps, dense=False)  # fmt: skip
    end = found.to_json()
    record: dict[str, Any] = {"outcome": found.status.value}
    record |= {name: end[name] for name in ("log_t", "log_inverse_loss", "margin", "smoothed_margin")}
    record |= dict.fromkeys(("kkt_eps", "kkt_lower", "kkt_upper", "kkt_delta", "kkt_size"))
    margin = end["margin"]
    if isinstance(margin, float) and margin > 0:
        kkt = kkt_certificate(net, X, y, loss, found.theta, found.modes())
        record |= {"kkt_eps": kkt.eps, "kkt_lower": kkt.certificate.lower, "kkt_upper": kkt.certificate.upper,
                   "kkt_delta": kkt.delta, "kkt_size": margin ** (-1 / net.degree)}  # fmt: skip
    return record | {
        "conservation_drift": found.conservation_drift, "clock_error": found.clock_error, "steps": found.steps,
        "switches": len(found.events),
    }  # fmt: skip


def rho(
    *, width: int, lam: float, depth: int = 2, activation: str = "relu", slope: float | None = None,
    data: str = "gaussians", classes: int = 2, n: int = 10, d: int | None = None, separation: float | None = None,
    data_seed: int = 0, targets: str | None = None, normalisation: str = "lagrange", until: str = "stationary",
    at_zero: str = "stop", scale: float = 1.0, rtol: float = 1e-10, max_steps: int = 20_000, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """The flow of f = rho f_V under the mean square loss with decay lam, by ``theory.square_loss.integrate_rho``.

    Parameters
    ----------
    width, depth, activation, slope, data, classes, n, d, separation, data_seed : as in ``flow``.
    lam : weight decay; PyTorch's is 2 lam.
    targets : ``signs`` (-1 and +1, the default of two classes), ``one-hot`` (of more) or ``centred``.
    normalisation, until, at_zero, rtol, max_steps : as in ``integrate_rho``. scale, seed : of the initial weights.

    Returns
    -------
    ``outcome`` in words, ``t``, ``rho``, ``rho_eq`` (where it would rest if V stood still) and ``residual``, the
    distance of the two, ``mu``, ``M``, ``sigma``, ``fit``, ``objective``, ``least_margin``, ``norm_drift``, ``steps``,
    ``switches``.

    Raises
    ------
    InvalidInput : numbers out of range. NotConverged : the end was not reached.

    Examples
    --------
    >>> found = rho(width=4, lam=0.1, n=2, d=2, seed=1)
    >>> found["residual"] < 1e-6
    True
    """
    from theory.square_loss import class_targets, integrate_rho

    X, labels = points(data, classes=classes, n=n, d=d, separation=separation, data_seed=data_seed)
    chosen = targets or ("signs" if classes == 2 else "one-hot")
    if chosen not in TARGETS:
        raise InvalidInput(f"targets must be one of {', '.join(TARGETS)}, but is {chosen!r}.")
    if chosen == "signs" and classes != 2:
        raise InvalidInput(f"targets='signs' takes two classes, but classes is {classes}.")
    signs = chosen == "signs"
    y = 2.0 * labels - 1 if signs else class_targets(labels, classes, centred=chosen == "centred")
    net = _network(X.shape[1], width, depth, 1 if signs else classes, activation, slope)
    found = integrate_rho(net, (X, y), lam=lam, theta0=net.random_parameters(rng=seed, scale=scale), until=until,
                          normalisation=normalisation, at_zero=at_zero, rtol=rtol, max_steps=max_steps)  # fmt: skip
    end: dict[str, Any] = found.to_json()
    names = ("t", "rho", "rho_eq", "mu", "M", "sigma", "fit", "objective", "least_margin", "norm_drift", "steps")
    rest = end["rho_eq"]
    return {
        "outcome": found.status.value, **{name: end[name] for name in names}, "switches": len(found.events),
        "residual": None if rest is None else abs(end["rho"] - rest),
    }  # fmt: skip


def points(
    data: str, *, classes: int = 2, n: int = 10, d: int | None = None, separation: float | None = None,
    data_seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Inputs (N, d) and labels (N) in 0..classes-1.

    Parameters
    ----------
    data : ``gaussians`` (means at distance ``separation``, default 4), ``teacher`` (labels of a random ReLU network),
        or ``iris``, ``wine``, ``breast_cancer``, ``digits`` of scikit-learn, of which the first classes are taken.
    n : samples of each class; of the teacher n times classes in all. d : dimension of what is drawn, default 5.

    Raises
    ------
    InvalidInput : an unknown name, numbers out of range, d or separation where the data have none.
    """
    from simulations.data import bundled, gaussians, teacher
    from theory._arrays import as_count

    if data not in DATA:
        raise InvalidInput(f"data must be one of {', '.join(DATA)}, but is {data!r}.")
    K, each = as_count("classes", classes, minimum=2), as_count("n", n)
    if separation is not None and data != "gaussians":
        raise InvalidInput(f"separation is a parameter of gaussians, not of {data}.")
    if data == "gaussians":
        found = gaussians(K, each, 5 if d is None else d, 4.0 if separation is None else separation, seed=data_seed,
                          test_size=0)  # fmt: skip
        return found.X, found.y
    if data == "teacher":
        found = teacher([5 if d is None else d, TEACHER_WIDTH, K], K * each, seed=data_seed, test_size=0)
        return found.X, found.y
    if d is not None:
        raise InvalidInput(f"d is a parameter of gaussians and teacher; {data} has its own dimension.")
    whole = bundled(data, test_size=0, seed=data_seed)
    if K > whole.num_classes:
        raise InvalidInput(f"{data} has {whole.num_classes} classes, but classes is {K}.")
    short = min(whole.counts[:K])
    if each > short:
        raise InvalidInput(f"a class of {data} has {short} samples, but n is {each}.")
    index = np.sort(np.concatenate([np.flatnonzero(whole.y == k)[:each] for k in range(K)]))
    return whole.X[index], whole.y[index]


def _network(
    d: int, width: int, depth: int, outputs: int, activation: str, slope: float | None
) -> LayeredNetwork:  # fmt: skip
    from theory._arrays import as_count
    from theory.flow import fully_connected

    layers = as_count("depth", depth)
    return fully_connected((d, *[width] * (layers - 1), outputs), activation=activation, slope=slope)
