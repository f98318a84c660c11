"""``low-rank``: the certificate by hand, what must hold of every network, the record."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from simulations.experiments import _low_rank_networks as networks
from simulations.experiments import low_rank as experiment
from simulations.store import ResultsStore

pytestmark = pytest.mark.xdist_group("low-rank")
SMALL = networks.Setting(kind="dense", batch=2, lam=0.02, seed=1, step=0.1, updates=80, n=50)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lines = []
    path = tmp_path_factory.mktemp("lr") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        records = [store.find(config) for config in store.configs()]
    torch.set_num_threads(threads)
    return result, path, lines, records


def layers(done):
    return [layer for record in done[3] for layer in record["layers"]]


def test_the_bound_is_never_violated(done):
    """Proved; the true distance is recomputed here from the profile of singular values."""
    found = layers(done)
    assert len(found) == 24
    for layer in found:
        assert layer["holds"] and layer["identity"] < 1e-12
        for rank, distance, tail in zip(layer["rank"], layer["distance"], layer["tail"], strict=True):
            assert tail == pytest.approx(layer["profile"][rank], abs=1e-12) and tail <= distance
        assert layer["below_full"] == len(layer["rank"]) and all(rank < layer["min_dim"] for rank in layer["rank"])
    assert sum(layer["below_full"] for layer in found) > 100


def test_ranks_of_a_layer_lie_in_their_order(done):
    for layer in layers(done):
        assert 1 <= layer["stable"] <= layer["numerical"] <= layer["min_dim"]
        assert layer["profile"][0] == pytest.approx(1) and layer["profile"][layer["near_rank"]] <= networks.NEAR
        assert layer["profile"][layer["near_rank"] - 1] > networks.NEAR
        assert layer["vacuous"] == (layer["certified"] >= layer["min_dim"])


def test_uses_are_the_patches():
    import torch

    from simulations.networks import convnet

    net = convnet((1, 8, 8), (16, 48), 10, stride=2)
    assert networks.uses_of(net, torch.zeros(1, 1, 8, 8)) == [16, 4, 1]


def test_gradients_of_one_layer_have_the_rank_of_the_batch(monkeypatch):
    """The bound's hypothesis on real gradients, and the updates by hand: the identity is that of the theory's lam."""
    seen = {}
    monkeypatch.setattr(networks, "_layer", lambda s, history, gradients, uses:
                        seen.setdefault(len(seen), (history, gradients, uses)) and {})  # fmt: skip
    for kind in ("dense", "convolutional"):
        setting = replace(SMALL, kind=kind)
        seen.clear()
        networks.train_one(setting)
        assert len(seen) == 3
        for history, gradients, uses in seen.values():
            assert (len(history), len(gradients)) == (networks.KEPT + 1, networks.KEPT)
            for before, after, G in zip(history, history[1:], gradients, strict=False):
                np.testing.assert_allclose(after, before - 0.1 * (G + 2 * 0.02 * before), atol=1e-14)
                matrix = G.reshape(len(G), -1)
                assert np.linalg.matrix_rank(matrix) <= min(setting.batch * uses, *matrix.shape)


def test_a_wrong_bound_disagrees(done, monkeypatch):
    result, path, _, _ = done
    told = experiment.confront

    def shifted(checks, kind, batches, lams, runs):
        worse = {
            key: [{**r, "layers": [{**x, "slack": x["slack"] - 0.5} for x in r["layers"]]} for r in found]
            for key, found in runs.items()
        }
        told(checks, kind, batches, lams, worse)

    monkeypatch.setattr(experiment, "confront", shifted)
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    for kind in experiment.KINDS:
        name = f"{kind}: true distance over the bound, largest excess"
        assert result.agreement[name].agrees and not wrong.agreement[name].agrees
        assert result.agreement[f"{kind}: unrolled identity, largest residual"].agrees


def test_directions_are_means_over_layers(done):
    result, _, _, records = done
    by = {key: np.mean([layer["stable"] / layer["min_dim"] for record in records[a:b] for layer in record["layers"]])
          for key, (a, b) in {"batch 1": (0, 2), "batch 16": (2, 4)}.items()}  # fmt: skip
    found = result.agreement["dense: stable rank / full, smallest less largest batch"]
    assert found.measured == pytest.approx(by["batch 1"] - by["batch 16"]) and found.relation == "at most"


def test_the_store_makes_a_second_run_equal_and_quick(done):
    result, path, _, _ = done
    began = time.process_time()
    with ResultsStore(path) as store:
        again = experiment.run(quick=True, store=store)
    assert time.process_time() - began < 1
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())


def test_record_and_figure(done):
    result, _, lines, _ = done
    assert (result.name, result.claim) == (experiment.NAME, experiment.CLAIM)
    assert len(result.table) == 24 and len({tuple(r) for r in result.table}) == 1
    assert len(result.agreement.checks) == 12 and "violated on 0" in result.notes[0]
    assert any("8 of 8" in line and "left" in line for line in lines)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 3 and result.agreement.verdict in figure.get_suptitle()
