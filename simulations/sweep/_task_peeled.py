"""The tasks ``threshold`` and ``peel``: models of the last layer, configuration by configuration or many at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from theory._errors import InvalidInput, TheoryError


def threshold(
    *, majority: int, E_W: float, E_H: float, minority: int | None = None, K: int | None = None
) -> dict[str, Any]:  # fmt: skip
    """Where minority classes merge and where they vanish, as ``theory.peeled.collapse_threshold`` has it.

    Parameters
    ----------
    majority : number of majority classes K_A. minority : of minority classes; or K, of all classes together.
    E_W, E_H : budgets.

    Returns
    -------
    ``majority_share`` (K_A / K), ``product`` (E_W E_H), ``log_R0`` (natural), ``R0`` and ``R00`` (None above 1e308, R00
    also where the minority never vanishes), ``vanishes`` (whether R00 exists, by ``vanishing_product``), ``residual``
    and ``residual_R00``: relative violations of the KKT systems.

    Raises
    ------
    InvalidInput : numbers out of range; both or neither of minority and K.

    Examples
    --------
    >>> round(threshold(majority=5, K=10, E_W=1, E_H=5)["R0"], 8)
    12.19244708
    """
    from theory.peeled import collapse_thresholds

    A, B = _split(majority, minority, K)
    return _records(collapse_thresholds(majority=[A], minority=[B], E_W=[E_W], E_H=[E_H]))[0]


def thresholds(configs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """``threshold`` for many configurations in one vectorised call; a configuration that is refused is its error.

    Each record equals that of ``threshold`` to the last bit: nothing depends on the neighbours.

    Examples
    --------
    >>> found = thresholds([{"majority": 5, "minority": 5, "E_W": 1, "E_H": 5}, {"majority": 0, "K": 9, "E_W": 1}])
    >>> round(found[0]["R0"], 3), type(found[1]).__name__
    (12.192, 'InvalidInput')
    """
    from theory.peeled import collapse_thresholds

    try:
        split = [_split(c["majority"], c.get("minority"), c.get("K")) for c in configs]
        A, B = zip(*split, strict=True)
        E_W, E_H = ([c[name] for c in configs] for name in ("E_W", "E_H"))
        return _records(collapse_thresholds(majority=A, minority=B, E_W=E_W, E_H=E_H))
    except (TheoryError, KeyError, TypeError, ValueError):
        return [_alone(config) for config in configs]


def _alone(config: Mapping[str, Any]) -> dict[str, Any] | Exception:
    try:
        return threshold(**config)
    except TheoryError as error:
        return error
    except TypeError as error:  # a parameter that is missing or unknown
        return InvalidInput(f"{str(error).removeprefix('threshold() ')}.")


def _split(majority: Any, minority: Any, K: Any) -> tuple[int, int]:
    from theory._arrays import as_count

    if (minority is None) == (K is None):
        raise InvalidInput("give exactly one of minority and K, the number of all classes.")
    A = as_count("majority", majority)
    if minority is not None:
        return A, as_count("minority", minority, minimum=2)
    rest = as_count("K", K, minimum=3) - A
    if rest < 2:
        raise InvalidInput(f"K must leave at least 2 minority classes, but {K} less {A} majority classes is {rest}.")
    return A, rest


def _records(found: Any) -> list[dict[str, Any]]:
    """One record per entry of a ``CollapseThresholds``."""
    from theory.peeled import vanishing_product

    names = ("majority", "minority", "product", "log_R0", "R0", "R00", "residual", "residual_R00")
    ends: dict[tuple[int, int], float] = {}
    records = []
    for A, B, product, log_R0, R0, R00, residual, residual_R00 in zip(
        *(getattr(found, name).tolist() for name in names), strict=True
    ):
        if (A, B) not in ends:
            ends[A, B] = vanishing_product(majority=A, minority=B)
        records.append(
            {"majority_share": A / (A + B), "product": product, "log_R0": log_R0,
             "R0": R0 if math.isfinite(R0) else None, "R00": R00 if math.isfinite(R00) else None,
             "vanishes": product < ends[A, B], "residual": residual, "residual_R00": residual_R00}
        )  # fmt: skip
    return records


def peel(
    *, counts: str | list[int] | None = None, K: int | None = None, n_majority: int | None = None,
    ratio: float | None = None, minority: int | None = None, E_W: float | None = None, E_H: float | None = None,
    lam_W: float | None = None, lam_H: float | None = None, lam_b: float | None = None, loss: str = "cross_entropy",
    features: str = "free", label_smoothing: float = 0.0, gamma: float | None = None, dimension: int | None = None,
    class_weights: str | None = None, method: str = "auto", rtol: float = 1e-9,
) -> dict[str, Any]:  # fmt: skip
    """An optimum by ``theory.peeled.solve``: the layer-peeled model with E_W and E_H, unconstrained features with lam.

    Parameters
    ----------
    counts : such as ``100x5,10x5`` or a list; or K, n_majority, ratio (and minority) of ``step_counts``.
    E_W, E_H : budgets; or lam_W, lam_H : penalties, with lam_b, features, label_smoothing and gamma.
    class_weights : ``balanced``, or weights such as ``1x5,10x5``.

    Returns
    -------
    ``objective`` with ``lower``, ``gap`` and ``relative_gap`` of its certificate, ``optimal`` (what the solver's status
    says), ``solved_by`` (its method), ``rank``, ``multiplier``, and for the classes with most and with fewest samples
    the count, ``phase``, cosines, norms and merge ratio.

    Raises
    ------
    InvalidInput : numbers out of range, options that do not belong together. NotConverged : the gap stayed above rtol.

    Examples
    --------
    >>> found = peel(counts="10x5,1x5", E_W=1, E_H=5)
    >>> round(found["cos_minority"], 8), found["optimal"]
    (0.51749628, True)
    """
    from theory.peeled import LayerPeeledModel, UnconstrainedFeaturesModel, solve

    classes, weights = _counts(counts, K, n_majority, ratio, minority), _weights(class_weights)
    budgets, penalties = (E_W, E_H), (lam_W, lam_H)
    model: LayerPeeledModel | UnconstrainedFeaturesModel
    if E_W is not None and E_H is not None and penalties == (None, None):
        free = {"lam_b": lam_b, "gamma": gamma, "label_smoothing": label_smoothing or None,
                "features": None if features == "free" else features}  # fmt: skip
        given = [name for name, value in free.items() if value is not None]
        if given:
            raise InvalidInput(f"{given[0]} goes with the penalties lam_W and lam_H, not with budgets.")
        model = LayerPeeledModel(counts=classes, E_W=E_W, E_H=E_H, loss=loss, dimension=dimension,
                                 class_weights=weights)  # fmt: skip
    elif lam_W is not None and lam_H is not None and budgets == (None, None):
        model = UnconstrainedFeaturesModel(
            counts=classes, lam_W=lam_W, lam_H=lam_H, lam_b=lam_b, loss=loss, features=features,
            label_smoothing=label_smoothing, gamma=gamma, dimension=dimension, class_weights=weights,
        )  # fmt: skip
    else:
        raise InvalidInput("give the budgets E_W and E_H, or the penalties lam_W and lam_H.")
    found = solve(model, method=method, rtol=rtol)
    record: dict[str, Any] = {
        "objective": found.objective, "lower": found.certificate.lower, "gap": found.certificate.gap,
        "relative_gap": found.relative_gap, "optimal": found.status == "optimal", "solved_by": found.method,
        "rank": found.rank, "multiplier": found.multiplier,
    }  # fmt: skip
    for name, group in (("majority", found.groups[0]), ("minority", found.groups[-1])):
        record |= {
            f"count_{name}": int(group.count), f"classes_{name}": group.classes, f"phase_{name}": group.phase,
            f"cos_{name}": group.cos_within, f"cos_features_{name}": group.cos_within_features,
            f"norm_w_{name}": group.norm_w, f"norm_h_{name}": group.norm_h, f"merge_ratio_{name}": group.merge_ratio,
        }  # fmt: skip
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in record.items()}


def _counts(
    counts: str | list[int] | None, K: int | None, n_majority: int | None, ratio: float | None, minority: int | None
) -> Any:
    from simulations.cli._groups import parse_counts
    from simulations.data import step_counts

    step = (K, n_majority, ratio)
    if counts is None and K is not None and n_majority is not None and ratio is not None:
        return step_counts(K, n_majority, ratio, minority)
    if counts is None or step != (None, None, None) or minority is not None:
        raise InvalidInput("give counts, or K, n_majority and ratio (and minority) of a step of class counts.")
    if isinstance(counts, str):
        try:
            return parse_counts(counts)
        except InvalidInput as error:
            raise InvalidInput(str(error).replace("--counts", "counts")) from None
    return counts


def _weights(class_weights: Any) -> Any:
    from simulations.cli._groups import parse_weights

    if class_weights is not None and not isinstance(class_weights, str):
        return class_weights
    try:
        return parse_weights(class_weights)
    except InvalidInput as error:
        raise InvalidInput(str(error).replace("--weights", "class_weights")) from None
