"""What ``increasing-complexity`` trains: a network over its training, and simpler classifiers held beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.data.dataset import Dataset
from simulations.experiments._one_thread import one_thread

if TYPE_CHECKING:
    import torch

    from theory.complexity import RetentionModel

BATCH = 50
MEASURES = ("mu", "I_FY_given_L", "I_LY_given_F")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One network on ``shortcut`` or ``digits``, measured against classifiers of given hidden widths."""

    task: str
    seed: int
    hidden: tuple[int, ...]
    learning_rate: float
    epochs: int
    references: tuple[tuple[int, ...], ...]
    reference_epochs: int
    tolerance: float

    def key(self) -> dict[str, Any]:
        """All that the record depends on."""
        return asdict(self)


def name_of(hidden: tuple[int, ...]) -> str:
    """``linear``, or the hidden widths."""
    return "-".join(map(str, hidden)) or "linear"


def shortcut(n: int, held: int, rare: float, seed: int, *, d: int = 10, noise: float = 0.3) -> Dataset:
    r"""Gaussian clusters with a linear part and a nonlinear rest, whose information values are exact.

    Coordinates 1 to 3 are :math:`s |1 + \sigma z_1|, q |1 + \sigma z_2|, r |1 + \sigma z_3|` with fair signs s and q,
    the others :math:`\sigma z`. The label is s where q r = -1, and -s where q r = 1, which has probability ``rare``,
    independently of s. Neither q nor r alone tells anything of the label, so the linear part is s, with
    I(s;Y) = 1 - h(rare) bits, and all is I(F;Y) = 1 bit.
    """
    rng = np.random.default_rng([seed, 31])
    total = n + held
    s, q = rng.choice([-1, 1], total), rng.choice([-1, 1], total)
    turned = rng.random(total) < rare
    X = noise * rng.standard_normal((total, d))
    for k, sign in enumerate((s, q, np.where(turned, q, -q))):
        X[:, k] = sign * np.abs(1 + X[:, k])
    y = (np.where(turned, -s, s) + 1) // 2
    return Dataset(name="shortcut", X=X[:n], y=y[:n], X_test=X[n:], y_test=y[n:], num_classes=2)


def halves_of_digits(seed: int, held: int = 900) -> Dataset:
    """Digits 0 to 4 against 5 to 9, a split for each seed."""
    from simulations.data import digits

    data = digits(test_size=held, seed=seed, flat=True)
    X_test, y_test = _held_out(data)
    y, y_test = (np.asarray(labels > 4, dtype=np.int64) for labels in (data.y, y_test))
    return Dataset(name="digits, 0-4 against 5-9", X=data.X, y=y, X_test=X_test, y_test=y_test, num_classes=2)


def data_of(setting: Setting, samples: int, held: int, rare: float) -> Dataset:
    """The data of a task."""
    return shortcut(samples, held, rare, setting.seed) if setting.task == "shortcut" else halves_of_digits(setting.seed)


def checkpoints(epochs: int) -> list[int]:
    """Epochs 0, 1, 2, ... about equally spaced in the logarithm, ten to a factor of e, with the last."""
    grid = np.unique(np.round(np.exp(np.arange(0, np.log(epochs) + 0.1, 0.1))).astype(int))
    return [0, *grid[grid < epochs].tolist(), epochs]


def train_one(setting: Setting, samples: int, held: int, rare: float) -> dict[str, Any]:
    """A network's information measures over training, against every reference, on held-out data."""
    from theory.complexity import learning_curve

    data = data_of(setting, samples, held, rare)
    X, y = _held_out(data)
    wanted = set(checkpoints(setting.epochs))
    with one_thread():
        references, errors = {}, {}
        for hidden in setting.references:
            net = _fit(data, hidden, seed=1000 + setting.seed, epochs=setting.reference_epochs, learning_rate=0.1,
                          momentum=0.9, schedule="cosine", evaluate_every=setting.reference_epochs)  # fmt: skip
            references[name_of(hidden)] = predictions(net, X)
            errors[name_of(hidden)] = float((references[name_of(hidden)] != y).mean())
        found: dict[int, np.ndarray] = {}
        train_error: dict[int, float] = {}

        def watch(epoch: int, net: torch.nn.Module, row: Any) -> None:
            if epoch in wanted:
                found[epoch], train_error[epoch] = predictions(net, X), row.error

        _fit(data, setting.hidden, seed=setting.seed, epochs=setting.epochs, learning_rate=setting.learning_rate,
             callback=watch)  # fmt: skip
    steps = sorted(found)
    curve = learning_curve([found[k] for k in steps], y, references, steps=steps)
    first = curve.references[0]
    return {
        "steps": steps, "I_FY": curve.values("I_FY", first),
        "train_error": [train_error[k] for k in steps],
        "test_error": [float((found[k] != y).mean()) for k in steps],
        "H_Y": curve.points[first][-1].H_Y,
        "against": {
            name: {**{measure: curve.values(measure, name) for measure in MEASURES},
                   "I_LY": curve.points[name][-1].I_LY, "error": errors[name],
                   "explained_until": curve.explained_until(name, tolerance=setting.tolerance)}
            for name in curve.references
        },
    }  # fmt: skip


def _fit(data: Dataset, hidden: tuple[int, ...], *, callback: Any = None, **plan: Any) -> torch.nn.Module:
    from simulations.networks import perceptron
    from simulations.train import TrainingPlan, train

    widths = (data.X.shape[1], *hidden, data.num_classes)
    chosen = TrainingPlan(batch_size=BATCH, **plan)
    return train(lambda seed: perceptron(widths, bias=True, seed=seed), data, chosen, callback=callback).model


def _held_out(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    assert data.X_test is not None and data.y_test is not None
    return data.X_test, data.y_test


def predictions(net: torch.nn.Module, X: np.ndarray) -> np.ndarray:
    """Predicted classes."""
    import torch

    with torch.no_grad():
        return net(torch.as_tensor(X, dtype=next(net.parameters()).dtype)).argmax(dim=1).numpy()


def memory_data(model: RetentionModel, fresh: int, seed: int) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """The samples of a ``RetentionModel`` and ``fresh`` new ones with directions of their own; both features s.

    Half of the features are +1, and of either half the same share is flipped.
    """
    rng = np.random.default_rng([seed, 32])
    share = model.flipped / model.n

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        s = np.repeat([1, -1], count // 2)
        y, each = s.copy(), round(share * count / 2)
        y[:each], y[count // 2 : count // 2 + each] = -1, 1
        order = rng.permutation(count)
        return s[order], y[order]

    (s, y), (s_new, y_new) = draw(model.n), draw(fresh)
    X = np.hstack([model.a * s[:, None], model.b * np.eye(model.n), np.zeros((model.n, fresh))])
    new = np.hstack([model.a * s_new[:, None], np.zeros((fresh, model.n)), model.b * np.eye(fresh)])
    data = Dataset(name="memory", X=X, y=(y + 1) // 2, X_test=new, y_test=(y_new + 1) // 2, num_classes=2)
    return data, (s + 1) // 2, (s_new + 1) // 2


def train_memory(
    model: RetentionModel, hidden: tuple[int, ...], seed: int, *, fresh: int, step: float, updates: int, every: int
) -> dict[str, Any]:
    """Full-batch descent on the square loss from near zero (linear) or PyTorch's weights; scores and information.

    The difference of the two outputs is the f of the model, its targets +-1.
    """
    import torch

    from simulations.networks import perceptron
    from simulations.train import TrainingPlan, train
    from theory.complexity import estimate

    data, s, s_new = memory_data(model, fresh, seed)
    X_new, y_new = _held_out(data)
    clean = data.y == s
    inputs = torch.as_tensor(data.X)
    rows: list[dict[str, Any]] = []

    def watch(epoch: int, net: torch.nn.Module, _: Any) -> None:
        if epoch == 0 or epoch % every:
            return  # at the start scores of about zero have no sign worth measuring
        with torch.no_grad():
            out = net(inputs).numpy()
        scores = (2 * s - 1) * (out[:, 1] - out[:, 0])
        new = predictions(net, X_new)
        on_train = estimate(out.argmax(axis=1), data.y, s, estimator="plug-in")
        on_new = estimate(new, y_new, s_new, estimator="plug-in")
        rows.append({
            "t": step * epoch, "clean": scores[clean].mean(), "flipped": scores[~clean].mean(),
            "I_FY": on_train.I_FY, "I_LY_given_F": on_train.I_LY_given_F,
            "train_error": float((out.argmax(axis=1) != data.y).mean()),
            "new_error": float((new != y_new).mean()), "new_I_LY_given_F": on_new.I_LY_given_F,
            "new_I_FY_given_L": on_new.I_FY_given_L,
        })  # fmt: skip

    widths = (data.X.shape[1], *hidden, 2)
    plan = TrainingPlan(epochs=updates, learning_rate=step, loss="mse", dtype="float64", seed=seed,
                        evaluate_every=every)  # fmt: skip
    with one_thread():
        train(lambda seed: perceptron(widths, scale=1.0 if hidden else 1e-6, seed=seed), data, plan, callback=watch)
    return {key: [row[key] for row in rows] for key in rows[0]}
