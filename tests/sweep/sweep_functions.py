"""Tasks of a user's own, for the tests of the sweep engine, and what they compare."""

import os
import signal
import sys
import threading
import time

CALLS = []


def inverse(x, seed=0, delay=0.0):
    """A plain function; fails at 0."""
    time.sleep(delay)
    CALLS.append((x, seed))
    return {"y": 1 / x, "third": (x + seed) / 3, "even": x % 2 == 0, "name": str(x)}


def together(configs):
    CALLS.append(len(configs))
    if any(config["x"] == 7 for config in configs):
        raise RuntimeError("seven")
    return [ValueError("three") if config["x"] == 3 else {"y": config["x"] ** 2} for config in configs]


def square(x):
    raise AssertionError("the vectorised form runs")


square.batch = together


def short(x):
    """Its vectorised form forgets the last record."""


short.batch = lambda configs: [{"y": 0}] * (len(configs) - 1)


def deadly(x, y=0):
    if x == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"double": 2 * x}


def interrupted(x):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    return {"x": x}


def odd_values(x):
    """Whatever a task may return, or do."""
    if x == "exit":
        raise SystemExit(3)
    if x == "base":
        raise GeneratorExit("not an Exception")
    if x == "half":
        raise ValueError("half a character: \ud800")
    if x == "mute":
        raise Mute
    if x == "broken":
        return {"a": Broken()}
    if x == "long":
        return {"a": "x" * 10**6}
    return {"list": [1, 2], "set": {"a": {1}}, "none": None, "nan": {"a": float("nan")}}[x]


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("says nothing")


class Broken:
    def tolist(self):
        raise RuntimeError("broken")


def rude(x):
    """Whatever a task may do to its process."""
    if x == "print":
        sys.stdout.write("a task's words\n")
    elif x == "chdir":
        os.chdir("/")
    elif x == "fork":
        os.fork()
    elif x == "interrupt":
        raise KeyboardInterrupt
    return {"folder": os.getcwd()}


def threads(x):
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((4, 4)) @ np.ones((4, 4))
    pools = [pool["num_threads"] for pool in threadpool_info()]
    return {"most": max(pools), "variable": os.environ["OMP_NUM_THREADS"], "thread": threading.active_count() > 0}


def torch_threads(x):
    import torch

    return {"threads": torch.get_num_threads()}


def matrix(x, seed):
    """Sums whose last bits depend on the number of BLAS threads."""
    import numpy as np

    rng = np.random.default_rng(seed)
    A = rng.standard_normal((120, 120)) * x
    return {"sum": float((A @ A).sum()), "norm": float(np.linalg.norm(A, 2))}


def table(store):
    """All of the rows that is not about when and how long; nor the revision, which a commit meanwhile would change."""
    rows = sorted((row.to_json() for row in store.rows()), key=lambda row: row["key"])
    return [{name: row[name] for name in row if name not in ("seconds", "finished", "revision")} for row in rows]
