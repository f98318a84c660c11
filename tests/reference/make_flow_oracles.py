"""Write flow_oracles.json: theta(T) of both oracles on random problems that slide; theory.flow is not used.

Half an hour. A problem is kept where the two agree to 1e-6, that is, where the flow is unique, and where a pair was
seen on its kink; three layers only where that happened beyond the first hidden layer.
Run as ``python -m tests.reference.make_flow_oracles``.
"""

import json
from pathlib import Path

import numpy as np

from tests.flow.oracles import deep_problem, proximal_flow, random_problem, softplus_flow

TARGET = Path(__file__).with_name("flow_oracles.json")


def main(two_layer=21, three_layer=4, largest=64):
    rows = []
    for kind, make, wanted in (("deep", deep_problem, three_layer), ("two-layer", random_problem, two_layer)):
        seed, kept = 0, 0
        while kept < wanted:
            problem = make(seed)
            if problem.units * len(problem.X) <= largest:
                soft = softplus_flow(problem, rtol=1e-11)
                try:
                    near, slid = proximal_flow(problem, tol=1e-9)
                except AssertionError:  # its steps vanish where the flow is not unique
                    near, slid = np.full_like(soft, np.inf), np.zeros((1, problem.units))
                apart = float(np.abs(soft - near).max())
                layers = sorted({int(u >= problem.widths[1]) for u in np.nonzero(slid)[1]})
                if apart < 1e-6 and layers and (kind == "two-layer" or 1 in layers):
                    kept += 1
                    rows.append(
                        {
                            "kind": kind,
                            "seed": seed,
                            "layers": layers,
                            "softplus": soft.tolist(),
                            "proximal": near.tolist(),
                        }
                    )
                    TARGET.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
            seed += 1


if __name__ == "__main__":
    main()
