"""``flow_of``: a module's flow is that of theory.flow's own network, or of an independent integrator."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy.integrate import solve_ivp

torch = pytest.importorskip("torch")
nn = torch.nn

from simulations.bridge import ModuleFlow, ModuleNetwork, flow_of  # noqa: E402
from theory import InvalidInput, PreconditionError  # noqa: E402
from theory.flow import (  # noqa: E402
    LayeredNetwork,
    check_separable,
    convolutional,
    deep_linear,
    fully_connected,
    integrate,
    two_layer,
)

RNG = np.random.default_rng(3)
X = RNG.standard_normal((10, 3))
Y = np.where(X[:, 0] + 0.3 * X[:, 1] > 0, 1, -1)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(build, seed=0, dtype=torch.float64):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().to(dtype)


class Square(nn.Module):
    def forward(self, x):
        return x * x


class Chain(nn.Module):
    """A product of matrices, written so that it is no Sequential."""

    def __init__(self, *widths):
        super().__init__()
        pairs = zip(widths[1:], widths, strict=False)
        self.matrices = nn.ParameterList([nn.Parameter(torch.randn(b, a) / a**0.5) for b, a in pairs])

    def forward(self, x):
        for W in self.matrices:
            x = x @ W.T
        return x


def tanh_net():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def quadratic_net():
    return nn.Sequential(nn.Linear(3, 4, bias=False), Square(), nn.Linear(4, 2, bias=False))


def relu_net(bias=False):
    return nn.Sequential(nn.Linear(3, 6, bias=bias), nn.ReLU(), nn.Linear(6, 1, bias=False))


# -- the derivatives ---------------------------------------------------------------------------------------------


def test_derivatives_are_those_of_the_own_network():
    own, labels = two_layer(3, 4, 2, activation="quadratic"), (Y + 1) // 2
    flow = flow_of(made(quadratic_net), (X, labels), "cross_entropy")
    net, theta = flow.network, flow.theta0
    assert isinstance(net, ModuleNetwork) and net.degree == own.degree == 3 and net.homogeneous
    G, V = RNG.standard_normal((10, 2)), RNG.standard_normal((2, 3, net.n_parameters))
    same = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(net.output(theta, X), own.output(theta, X), **same)
    np.testing.assert_allclose(
        net.gradient(net.forward(theta, X), G)[0], own.gradient(own.forward(theta, X), G)[0], **same
    )
    np.testing.assert_allclose(net.vjp(theta, X, G), own.vjp(theta, X, G), **same)
    np.testing.assert_allclose(net.jacobian(theta, X), own.jacobian(theta, X), **same)
    np.testing.assert_allclose(net.jvp(theta, X, V), own.jvp(theta, X, V), **same)
    np.testing.assert_allclose(net.hvp(theta, X, G, V), own.hvp(theta, X, G, V), **same)
    np.testing.assert_allclose(net.hessian(theta, X, G), own.hessian(theta, X, G), **same)


def test_the_gradient_is_that_of_autograd():
    module = made(tanh_net)
    flow = flow_of(module, (X, Y), "logistic")
    at = flow.network.forward(flow.theta0, X)
    found = flow.network.gradient(at, flow.loss.slope(at.outputs, flow.y))[0]
    q = torch.tensor(Y) * module(torch.tensor(X))[:, 0]
    grads = torch.autograd.grad(nn.functional.softplus(-q).sum(), list(module.parameters()))
    np.testing.assert_allclose(found, -torch.cat([g.ravel() for g in grads]).numpy(), rtol=1e-12, atol=1e-14)


class Branching(nn.Module):
    """A look at the values, which knows no batching rule."""

    def __init__(self):
        super().__init__()
        self.inner = tanh_net()

    def forward(self, x):
        return self.inner(x) if (x * x).sum().item() >= 0 else x


def test_modules_that_cannot_be_batched_go_one_by_one():
    flow, other = (flow_of(made(build), (X, Y), "logistic") for build in (Branching, tanh_net))
    for name in ("jacobian", "hessian"):
        more = () if name == "jacobian" else (np.ones((10, 1)),)
        found, wanted = (getattr(f.network, name)(f.theta0, X, *more) for f in (flow, other))
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


# -- the flows ---------------------------------------------------------------------------------------------------


def test_tanh_against_an_independent_integrator():
    flow = flow_of(made(tanh_net), (X, Y), "logistic")
    assert not flow.network.homogeneous
    end = flow.integrate(5.0, rtol=1e-11, atol=1e-13)

    def field(_, theta):
        W1, b1, W2, b2 = np.split(theta, [12, 16, 20])
        a = np.tanh(X @ W1.reshape(4, 3).T + b1)
        g = Y / (1 + np.exp(Y * (a @ W2 + b2)))
        dz = g[:, None] * W2 * (1 - a**2)
        return np.concatenate([(dz.T @ X).ravel(), dz.sum(0), g @ a, [g.sum()]])

    wanted = solve_ivp(field, (0, 5), flow.theta0, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    np.testing.assert_allclose(end.theta, wanted, rtol=0, atol=1e-9)
    with pytest.raises(InvalidInput, match="needs a homogeneous network"):
        flow.integrate()


def test_a_quadratic_network_to_separation():
    labels = (np.abs(X[:, 0]) > np.abs(X[:, 1])).astype(int)
    flow = flow_of(made(quadratic_net), (X, labels), "cross_entropy")
    found = flow.integrate("log-loss:50")
    own = two_layer(3, 4, 2, activation="quadratic")
    wanted = integrate(own, (X, labels), "cross_entropy", flow.theta0, until="log-loss:50")
    assert found.phases[-1][0] == "log-log"
    np.testing.assert_allclose(found.theta, wanted.theta, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.state.log_t, wanted.state.log_t, rtol=1e-9)
    assert found.normalized_margins()[-1] == pytest.approx(wanted.normalized_margins()[-1], rel=1e-9)
    assert np.isnan(found.conservation_drift)  # no laws are known of a module: not 0


@pytest.mark.parametrize("batched", [True, False], ids=["(N, d)", "(N, 1, d)"])
def test_a_deep_linear_network(batched):
    targets = X @ [[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]]
    shaped = X if batched else X[:, None]
    build = (lambda: Chain(3, 3, 2)) if batched else (lambda: nn.Sequential(Chain(3, 3, 2), nn.Flatten()))
    flow = flow_of(made(build), (shaped, targets), "square")
    assert isinstance(flow.network, ModuleNetwork)
    found = flow.integrate(1.0, rtol=1e-11, atol=1e-13)
    wanted = integrate(deep_linear((3, 3, 2)), (X, targets), "square", flow.theta0, until=1.0, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.theta, wanted.theta, rtol=0, atol=1e-9)


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "first bias"])
def test_relu_perceptrons_are_followed_through_their_kinks(bias):
    flow = flow_of(made(lambda: relu_net(bias), seed=1), (X, Y), "exponential")
    own = two_layer(3, 6, bias="first" if bias else False)
    assert flow.follows_kinks and flow.network == LayeredNetwork(
        layers=own.layers, activation=own.activation, name=own.name
    )
    found = flow.integrate("log-loss:100")
    wanted = integrate(own, (X, Y), "exponential", flow.theta0, until="log-loss:100")
    assert found.events == wanted.events and {"crossing", "sliding"} <= set(found.event_counts)
    np.testing.assert_array_equal(found.thetas, wanted.thetas)


def test_ignored_kinks_give_the_same_flow_until_the_first_event():
    module = made(relu_net)
    followed, ignored = (flow_of(module, (X, Y), "exponential", kinks=k) for k in ("follow", "ignore"))
    assert isinstance(ignored.network, ModuleNetwork) and ignored.notes == (
        "kinks ignored (relu): no events, no sliding",
    )
    first = followed.integrate("log-loss:10").events[0].log_t
    t = float(np.exp(first)) / 2
    a, b = (flow.integrate(t, rtol=1e-11, atol=1e-13) for flow in (followed, ignored))
    assert not a.events
    np.testing.assert_allclose(a.theta, b.theta, rtol=0, atol=1e-9)


def test_other_chains_that_theory_has():
    images = RNG.standard_normal((5, 1, 6, 6))
    conv = made(
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2),
            nn.Sequential(nn.Conv2d(2, 3, 3, padding="same", bias=False), nn.LeakyReLU(0.2)), nn.Flatten(),
            nn.Dropout(0.5), nn.Linear(27, 2, bias=False),
        )
    )  # fmt: skip
    flow = flow_of(conv, (images, [0, 1, 0, 1, 1]), "cross_entropy")
    assert flow.follows_kinks and flow.network.degree == 3 and flow.network.activation.slope == 0.2
    own = convolutional((1, 6, 6), (2,), 3, stride=2, padding=1)
    assert flow.network.layers[0] == own.layers[0]
    wanted = conv.eval()(torch.tensor(images)).detach().numpy()
    np.testing.assert_allclose(flow.network.output(flow.theta0, flow.X), wanted, rtol=1e-12, atol=1e-13)
    assert flow.notes == ("dropout is the identity, as in evaluation: 4",)

    line = made(lambda: nn.Sequential(nn.Conv1d(3, 2, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1)))
    signals = RNG.standard_normal((5, 3, 3))
    flow = flow_of(line, (signals, [1, -1, 1, 1, -1]), "logistic")
    wanted = line(torch.tensor(signals)).detach().numpy()
    np.testing.assert_allclose(flow.network.output(flow.theta0, flow.X), wanted, rtol=1e-12, atol=1e-13)
    assert flow.follows_kinks and not flow.network.homogeneous

    deep = made(lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)))
    assert flow_of(deep, (X, Y), "logistic").network == fully_connected((3, 4, 4, 1), bias=True)
    linear = made(lambda: nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 1, bias=False)))
    assert flow_of(linear, (X, Y), "logistic").network.layers == deep_linear((3, 4, 1)).layers


class Functional(nn.Module):
    """A perceptron as people write it; ``late`` is defined before the layer that it follows."""

    def __init__(self, swapped=False):
        super().__init__()
        if swapped:
            self.late = nn.Linear(6, 1, bias=False)
        self.early = nn.Linear(3, 6)
        if not swapped:
            self.late = nn.Linear(6, 1, bias=False)

    def forward(self, x):
        return self.late(nn.functional.leaky_relu(self.early(x), 0.3))


def test_chains_written_as_functions():
    flow = flow_of(made(Functional), (X, Y), "exponential")
    assert flow.network == two_layer(3, 6, activation="leaky_relu", slope=0.3, bias="first")
    with pytest.raises(PreconditionError, match="kinks"):  # theta would be in another order
        flow_of(made(lambda: Functional(swapped=True)), (X, Y), "exponential")


# -- theta and the module ----------------------------------------------------------------------------------------


def test_theta_goes_back_into_a_new_module():
    module = made(quadratic_net, dtype=torch.float32).train()
    flow = flow_of(module, (X, (Y + 1) // 2), "cross_entropy")
    assert flow.names == ("0.weight", "2.weight")
    assert flow.notes == ("float32 weights are continued in float64",)
    theta = np.round(flow.theta0 + RNG.standard_normal(len(flow.theta0)), 3).astype(np.float32)
    new = flow.module(theta)
    flow.module(0 * theta)
    assert new is not module and new.training and new[0].weight.dtype == torch.float32
    np.testing.assert_array_equal(torch.cat([p.ravel() for p in new.parameters()]).detach().numpy(), theta)
    np.testing.assert_allclose(
        flow.network.output(theta, X), new(torch.tensor(X, dtype=torch.float32)).detach().numpy(), rtol=1e-4, atol=1e-4
    )
    views = flow.network.views(theta.astype(float))
    np.testing.assert_array_equal(views["2.weight"], flow.state_dict(theta)["2.weight"].numpy())
    np.testing.assert_array_equal(flow.network.pack(**views), theta)
    with pytest.raises(InvalidInput, match="theta must have shape"):
        flow.module(theta[1:])


def test_random_parameters():
    network = flow_of(made(lambda: nn.Sequential(nn.Linear(3, 400), nn.Tanh(), nn.Linear(400, 1))), (X, Y), "logistic")
    theta = network.network.random_parameters(rng=0, scale=2.0)
    parts = network.network.views(theta)
    for name, size in (("0.weight", 2 / 3**0.5), ("0.bias", 2.0), ("2.weight", 2 / 20)):
        assert parts[name].std() == pytest.approx(size, rel=0.1)
    np.testing.assert_array_equal(theta, network.network.random_parameters(rng=0, scale=2.0))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x)).sum(1, keepdim=True)


def test_tied_and_frozen_parameters():
    flow = flow_of(made(Tied), (X, Y), "logistic")
    assert flow.names == ("a.weight",) and flow.network.degree == 2
    W = flow.theta0.reshape(3, 3)
    np.testing.assert_allclose(flow.network.output(flow.theta0, X)[:, 0], (X @ W.T @ W.T).sum(1), rtol=1e-12)
    module = made(tanh_net)
    module[0].requires_grad_(False)
    flow = flow_of(module, (X, Y), "logistic")
    assert flow.names == ("2.weight", "2.bias") and "frozen: 0.weight, 0.bias" in flow.notes
    assert flow.network.homogeneous and flow.network.degree == 1  # linear in what is left
    end = flow.module(flow.integrate(1.0).theta)
    assert torch.equal(end[0].weight, module[0].weight) and not torch.equal(end[2].weight, module[2].weight)


def weight_normed():
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 4, bias=False)), Square(), nn.Linear(4, 1, bias=False)
    )


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "normalised",
    [nn.utils.weight_norm, nn.utils.spectral_norm, *(getattr(nn.utils.parametrizations, name) for name in
     ("weight_norm", "spectral_norm", "orthogonal"))], ids=lambda f: f"{f.__module__}.{f.__name__}",
)  # fmt: skip
def test_normalised_weights(normalised):
    module = made(lambda: nn.Sequential(normalised(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1))).eval()
    flow = flow_of(module, (X, Y), "logistic")
    theta = flow.integrate(0.5).theta
    for at, net in ((flow.theta0, module), (theta, flow.module(theta))):
        wanted = net(torch.tensor(X)).detach().numpy()
        np.testing.assert_allclose(flow.network.output(at, X), wanted, rtol=1e-12, atol=1e-13)
    assert np.abs(theta - flow.theta0).max() > 1e-3


def test_degrees_are_measured():
    def degree(build, **options):
        network = flow_of(made(build), (X, Y), "logistic", **options).network
        return network.degree if network.homogeneous else None

    assert degree(quadratic_net_of_one) == 3 and degree(quadratic_net_of_one, degree=3) == 3
    assert degree(weight_normed) == 3  # 0 of the direction, 2 of the length squared, 1 above
    assert degree(tanh_net) is None
    assert degree(relu_net, degree=2) == 2

    def zero_biases():
        net = nn.Sequential(nn.Linear(3, 4), Square(), nn.Linear(4, 1))
        for layer in (net[0], net[2]):
            nn.init.zeros_(layer.bias)
        return net

    assert degree(zero_biases) is None  # though it is homogeneous at theta0
    for build, wrong in ((quadratic_net_of_one, 2), (tanh_net, 1), (relu_net, 3)):
        with pytest.raises(PreconditionError, match=f"homogeneous of degree {wrong}"):
            degree(build, degree=wrong)


def quadratic_net_of_one():
    return nn.Sequential(nn.Linear(3, 4, bias=False), Square(), nn.Linear(4, 1, bias=False))


def test_the_module_is_left_as_it_was():
    module = made(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 1))
    )
    module[1].eval()
    module(torch.tensor(X)).sum().backward()
    calls: list[int] = []
    handle = module[2].register_forward_hook(lambda *_: calls.append(1))
    before, grads = copy.deepcopy(module.state_dict()), [p.grad.clone() for p in module.parameters()]
    held, modes = [p.grad for p in module.parameters()], [part.training for part in module.modules()]
    torch_state, numpy_state = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    flow = flow_of(module, (X, Y), "logistic")
    new = flow.module(flow.integrate(0.5).theta)
    assert flow.notes[0] == "hooks set aside: 1" and not calls
    assert list(module[2]._forward_hooks) == [handle.id]
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.grad is g and torch.equal(g, w) for p, g, w in zip(module.parameters(), held, grads, strict=True))
    assert [part.training for part in module.modules()] == modes
    assert all(p.requires_grad and p.dtype == torch.float64 for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == numpy_state  # noqa: NPY002
    new.eval()(torch.tensor(X))
    assert not calls


def test_records():
    flow = flow_of(made(relu_net), (torch.tensor(X), torch.tensor(Y)), "exponential")
    assert isinstance(flow, ModuleFlow) and "kinks followed" in flow.summary()
    assert flow.to_json()["samples"] == 10
    flow = flow_of(made(tanh_net), (X, Y), "logistic")
    record = flow.integrate(0.1).to_json()
    assert record["network"]["degree"] is None and record["margin"] is None and "not homogeneous" in flow.summary()


def test_separability_of_a_module_is_judged_by_equal_inputs_only():
    xor = np.array([[1.0, 1], [-1, -1], [1, -1], [-1, 1]])
    build = lambda: nn.Sequential(nn.Linear(2, 3, bias=False), Square(), nn.Linear(3, 1, bias=False))  # noqa: E731
    assert flow_of(made(build, 1), (xor, [1, 1, -1, -1]), "logistic").integrate("log-loss:3").steps
    ray = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0], [2.0, 4.0, 0.0]])
    check_separable(flow_of(made(tanh_net), (ray, [1, 1, -1]), "logistic").network, ray, [1, 1, -1])
    with pytest.raises(InvalidInput, match="samples 0 and 1 are equal with different labels"):
        flow_of(made(build), (xor[[0, 0]], [1, -1]), "logistic").integrate("log-loss:3")
