"""What the signatures do not say: whole command lines that work, the form of some texts, and how costly a command is.

A command or an option that is not named here is fuzzed all the same, by its type and the words of its help.
"""

from __future__ import annotations

from random import Random

NET = "--architecture @net.json --weights @net.npz"
CHEAP = "--only group-norm,growth-function"

# besides the examples in the help of each command
LINES = {
    "peel": (
        "--counts 9x2,2x3 --E-W 1 --E-H 5", "--counts 9x2,2x3 --lambda-W 1e-3 --lambda-H 1e-5",
        "--counts 3,2 --lambda-W 1e-3 --lambda-H 1e-5 --lambda-b 0",
        "--counts 3,2 --lambda-W 1e-3 --lambda-H 1e-5 --features relu",
        "--counts 9x2,2x3 --lambda-W 1e-3 --lambda-H 1e-5 --loss mse", "--counts 9x2,2x3 --model seli",
        "--counts 9x2,2x3 --model seli --margins 1x2,2x3 --temperatures 1x5", "--labels @y.npy --E-W 1 --E-H 5",
        "--counts 9x2,2x3 --model deep-linear --lambda 1e-3 --depth 2", "--labels @words.npy --E-W 1 --E-H 5",
        "--counts 9,9 --E-W 1 --E-H 5 --weights balanced --dimension 4",
        "--labels @labels.csv --column kind --E-W 1 --E-H 5 --loss mse",
        "--counts 4x2 --lambda-W 1e-2 --lambda-H 1e-2 --loss focal --gamma 2",
        "--counts 4x2 --lambda-W 1e-2 --lambda-H 1e-2 --label-smoothing 0.1",
    ),
    "threshold": (
        "--counts 9x2,2x3", "--counts 9x2,2x3 --loss mse --features relu", "--counts 9x2,2x3 --lambda-b 0",
        "--counts 9x2,2x3 --model deep-linear --depth 3", "--majority 2 --minority 2 --E-W 1 --E-H 1",
        "--counts 9x2,2x3 --weights 1x2,2x3 --label-smoothing 0.1",
    ),
    "compare": ("--counts 3,2", "--counts 9x2,2x3 --lambda-W 1e-3 --lambda-H 1e-3 --lambda 1e-3"),
    "collapse-metrics": (
        "--features @H.npy --labels @y.npy", "--features @H.csv --labels @column.csv --classifier @W.npy --bias @b.npy",
        "--features @H32.npy --labels @y.npy --classifier @W.npy --global-mean sample",
    ),
    "flow": (
        "--data @points.csv --width 2 --max-steps 40", "--data @points.csv --network linear --max-steps 20 --no-limit",
        "--data @points.npz --width 3 --loss logistic --max-steps 20 --until log-loss:3",
        "--data @line.csv --width 2 --loss square --max-steps 20 --bias all --paired",
        "--data @classes.csv --labels-column label --loss cross_entropy --network deep-relu --width 2 --max-steps 10",
        "--data @bare.csv --network diagonal --depth 3 --max-steps 20 --until t:1 --clock t",
        "--data @points.csv --width 3 --start @theta.npy --max-steps 20 --no-limit --balanced",
        "--data @points.csv --width 3 --start @trajectory.npz --max-steps 5 --no-limit",
        "--data @points.csv --width 2 --algorithm sgd --batch 2 --steps 20 --step 0.1 --no-limit",
        "--data @points.csv --widths 2,2 --network deep-leaky-relu --slope 0.1 --max-steps 10 --no-limit",
        "--data @points.csv --width 2 --algorithm nesterov --momentum 0.5 --steps 10 --no-limit",
    ),
    "bounds": (
        f"{NET} --data @data.npz {CHEAP}", f"{NET} --data @data.npz {CHEAP} --reference @start.npz --radius 8",
        "--architecture @net.json --symbolic", f"{NET} --data @data.npz {CHEAP} --measures norms --margin 0.1",
        "--architecture @dense.yaml --weights @A.npz --data @blobs.npz --only path-norm,covering --delta 0.1",
    ),
    "norms": (
        "--conv @kernel.npy --size 5x5", "--conv @kernel1.npy --size 6 --padding circular --stride 2", NET,
        "--architecture @dense.yaml --weights @A.npz",
    ),
    "inspect": (
        "@net.npz --architecture @net.json", "@A.pt --architecture @dense.json", "@B.pt --architecture @dense.yaml",
        f"@net.npz --architecture @net.json --data @data.npz {CHEAP} --reference @start.npz",
        "@module.pt --trust --input-shape 2", f"@legacy.pt --architecture @dense.json --data @blobs.npz {CHEAP}",
        "@odd-half.pt --architecture @dense.json", "@module.pt --input-shape 2",
    ),
    "rho": (
        "--data @line.csv --width 2 --weight-decay 1e-2 --max-steps 20 --until t:0.1",
        "--data @points.csv --network linear --max-steps 20 --normalisation none --until t:1",
        "--data @classes.csv --labels-column label --targets one-hot --width 2 --max-steps 10 --until t:0.1",
        "--data @points.npz --network deep-relu --widths 2,2 --normalisation weight-norm --max-steps 10 --until t:0.1",
    ),
    "complexity": (
        "--predictions @F.npy --labels @y.npy --reference @linear.npy",
        "--predictions @T.npy --labels @y.npy --reference @linear.npy --steps @steps.npy --estimator jackknife",
        "--predictions @F.npy --labels @y.npy --reference @linear.npy --bootstrap 5 --unit nats --seed 1",
    ),
    "connect": (
        "@A.npz @B.npz --architecture @dense.json --data @blobs.npz --points 5 --starts 1 --max-steps 5",
        "@A.pt @B.pt --architecture @dense.yaml --data @edit~y=f8:8,2:normal~blobs.npz --points 3 --loss squared",
        "@A.npz @A.npz --architecture @dense.json --data @blobs.npz --points 3 --starts 1 --max-steps 2 --neurons",
    ),
    "validate": ("", "connectivity --quick --seeds 1", "bounds-along-training --quick --out @out~dirty"),
    "demo": ("--out @out~new --imbalance 10",),
    "sweep": ("@study.yaml --store @results.sqlite", "@sampled.yaml --store @old.sqlite --resume"),
    "results": (
        "@results.sqlite", "@results.sqlite --query SELECT~1", "@old.sqlite --json",
        "@results.sqlite --export csv --out rows.csv", "@results.sqlite --plot map.png --x seed --y R0 --log y",
        "@results.sqlite --query SELECT~*~FROM~rows --json",
    ),
}  # fmt: skip

TRICKY_NUMBERS = (
    "nan", "-nan", "inf", "-inf", "1e400", "-1e400", "1e308", "1e-308", "5e-324", "1e-400", "0", "-0", "-0.0", "0.0",
    "1e-9", "0.1", "0.5", "1", "1.0", "+1", "2", "30", "1e9", "-1", "-1e-300", "9" * 30, "0x5", "1_0", "٣", "½", "²",
    "", " ", " 1", "1 ", "1,5", "1.5", "1e", "e", "--", "1\n", "true", "None", "1j",
)  # fmt: skip
TRICKY_COUNTS = (
    "0", "1", "2", "3", "4", "7", "-1", "-0", "+2", "1e3", "1.5", "0x5", "٣", "²", "9" * 30, "-" + "9" * 30,
    "2147483648", "9223372036854775807", "9223372036854775808", "18446744073709551616", "", " 1", "1_0", "nan", "inf",
    "x", "01", "9" * 5000,
)  # fmt: skip
# options that say how much work is wanted: a large number is answered, but not in a moment
WORK = ("0", "1", "2", "3", "5", "-1", "1.5", "x", "", "nan", "1e1", "-" + "9" * 30)


def items(rng: Random) -> str:
    """``VALUExREPEATS,...``, right or nearly so."""
    values = (
        "1",
        "2",
        "9",
        "100",
        "0",
        "-1",
        "1.5",
        "x",
        "",
        "1e3",
        "999999999999",
        "٣",
        "nan",
        ".",
        "1e400",
        "1e-400",
    )
    times = ("", "x1", "x2", "x3", "x0", "xx2", "x-1", "x1e3", "x10000000", "x", "x2 ", "X2")
    weights = [6, 6, 6, 6] + [1] * 12
    out = []
    for _ in range(rng.choice((1, 2, 2, 2, 3, 4))):
        time = rng.choice(times[:4] if rng.random() < 0.8 else times)
        out.append(rng.choices(values, weights)[0] + time)
    return rng.choice((",", ",", ",", ", ", ";")).join(out)


# of an option, whatever the command
TEXTS = {
    "counts": items, "weights": items, "margins": items, "temperatures": items,
    "widths": ("2", "2,2", "3,1,2", "", ",", "0", "-1,2", "x", "2,", "1e1", "9" * 20, "٣", "2," * 30 + "2"),
    "size": ("5x5", "8x8", "6", "1x1", "0x3", "x", "3x3x3", "9" * 20, "9" * 12, "-1x3", "5X5", " 5x5", "",
    "100000x100000"),
    "input_shape": ("2", "1,4,4", "1,8,8", "0", "1x8", "", ",", "9" * 9, "9999999,9999999", "-1", "٣", "2,"),
    "padding": ("zero", "circular", "reflect", "replicate", "valid", "same", "1", "0", "-1", "x", "9" * 9, "9" * 12,
    ""),
    "only": ("group-norm", "path-norm", "covering", "growth-function", "group-norm,path-norm", "galanti,ledent",
             "parameter-net", "x", "", ",", "group-norm,,", "GROUP-NORM", "vc-dimension", "kernel", "sparse-growth"),
    "measures": ("norms", "all", "x", "", ",", "norms,norms"),
    "until": ("t:1", "t:0.1", "log-t:1", "log-loss:3", "stationary", "margin-converged", "t:nan", "t:1e400", "t:-1",
    "t:",
              "t", "", ":", "log-loss:1e9", "log-loss:inf", "t:0", "x:1", "log-t:-1e9"),
    "bootstrap": WORK, "points": WORK, "starts": WORK, "max_steps": (*WORK, "10", "20"), "steps": (*WORK, "10", "20"),
    "jobs": ("0", "1", "-2", "x", "1.5", "", "nan"), "scheduler": ("", "x", "tcp://", "inproc://", "::",
    "tcp://127.0.0.1:x"),
    "depth": ("1", "2", "3", "7", "0", "-1", "900", "x", "1.5"),
    "width": ("1", "2", "3", "0", "-1", "x", "1.5", "9" * 30, "99999999999"),
    "rtol": ("1e-8", "1e-3", "1e-300", "0", "nan", "-1", "1", "inf"),
    "seeds": ("1", "2", "0", "-1", "x", "nan"),
    "query": ("SELECT 1", "SELECT * FROM records", "SELECT seed, R0 FROM rows", "SELECT 1 AS a, 2 AS a",
    "SELECT x'00'", "DROP TABLE records", "x", "", "SELECT", "PRAGMA writable_schema=1",
              "ATTACH DATABASE 'x' AS y", "SELECT 1; SELECT 2", "WITH RECURSIVE t(x) AS (SELECT 1) SELECT * FROM t"),
}  # fmt: skip

# how often a command is run, 1 where nothing is said
SHARE = {
    "flow": 0.1, "rho": 0.15, "threshold": 0.3, "bounds": 0.3, "compare": 0.15, "connect": 0.5, "validate": 0.3,
    "demo": 0.03, "inspect": 0.5, "norms": 1.5, "complexity": 1.5, "collapse-metrics": 1.5, "sweep": 0.2,
    "results": 0.5,
}  # fmt: skip

# what a text that describes an architecture or a study may hold
VALUES = (
    0, 1, 2, 3, -1, 1.5, True, False, None, "same", "x", "", [1, 2], [], [[1]], {}, {"a": 1}, 10**30, 10**400, 1e308,
    float("nan"), float("inf"), "input", "relu", "0", [0, 0], [3, 3], 10**9, 1e-300,
)  # fmt: skip
KEYS = (
    "op", "out_features", "out_channels", "kernel_size", "stride", "padding", "groups", "bias", "inputs", "name", "eps",
    "dilation", "padding_mode", "negative_slope", "lipschitz", "power", "heads", "rate", "ceil_mode", "axes",
    "task", "fixed", "grid", "sample", "seeds", "count", "log", "linear", "ranges", "method", "integer", "seed",
)  # fmt: skip
KINDS = (
    "linear", "conv", "relu", "maxpool", "avgpool", "add", "flatten", "batchnorm", "attention", "layernorm", "scale",
    "bias", "dropout", "globalavgpool", "globalmaxpool", "filterresponsenorm", "leaky_relu", "gelu", "activation", "x",
)  # fmt: skip
YAML_SNIPPETS = (
    "!!timestamp x", "!!bool x", "!!int ''", "!!float x", "!!binary '&'", "!!python/object/apply:os.getcwd []", "*a",
    "&a [*a]", "2001-01-01", "2001-99-99", "1:60", "0o7", "0b1", ".nan", ".inf", "? [a]: 1", "!!set {a, b}", "<<: *a",
    "!!omap [a: 1]", "!!pairs [a: 1]", "~", "- -", "%YAML 9.9", "---\na\n---\nb", "\t", "{", "[" * 2000,
    "- " * 500 + "a",
    "'", "!<x> y", "!!null x", "!!str [a]", "!!seq x", "!!map x", "|\n x", "0x", "+.inf", "1e400", "yes", "&a {a: *a}",
    "!!timestamp 2001-02-30", "!!int 0x", "!!int 1:", "!!int _", "!!float _", "!!float ''",
)  # fmt: skip
ALIAS_BOMB = "input_shape: [2]\nnodes: [[&a0 [x, x]{}]]\n".format(
    "".join(f", &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12))
)
HEADERS = (
    "",
    "{",
    "1",
    "None",
    "[]",
    "{}",
    "(" * 300,
    "[" * 5000,
    "{'descr': '<f8'}",
    "-" * 4000 + "1",
    "'" * 3,
    "\0",
    "\n",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000000000000,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -3), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1.5,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': 3, }",
    "{'descr': '<f8', 'fortran_order': 1, 'shape': (3,), }",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (0, 1000000000000), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)*99, }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1, " * 99 + "), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (True, 2), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '|V8', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<M8', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<m8[x]', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f3', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f16', 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<U0', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '|S3', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '>f8', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': [('a', '<f8', (1000000, 1000000))], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': [], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': 'x', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': ('<f8', (2,)), 'fortran_order': False, 'shape': (3,), }",
    "{'descr': None, 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '?', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3L,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), 'x': 1}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }" + " " * 12000,
    "__import__('os').getcwd()",
)
DTYPES = ("f8", "f8", "f8", "i8", "i8", "f4", "f2", "u1", "u8", "i1", "bool", "c16", "U3", "S3", "O", "M8[s]", "m8[s]",
    "f16",
          ">f8", "f8,i4")  # fmt: skip
SHAPES = ("12", "12", "12", "3", "4", "6", "8", "9", "", "0", "1", "2", "12,4", "12,4", "3,4", "3,12", "4,2", "8,2",
    "6,1,4,4", "2,1,3,3",
          "4,3", "0,4", "12,0", "1,1", "2,2,3", "1,1,1,1,1,1", "12,1", "5", "3,16", "1,2,1")  # fmt: skip
FILLS = ("normal", "normal", "classes", "classes", "signs", "zeros", "ones", "rising", "negative", "half", "nan",
    "inf", "big", "tiny",
         "million")  # fmt: skip
ARRAY_NAMES = ("X", "y", "X_test", "y_test", "outputs", "features", "0.weight", "0.bias", "2.weight", "2.bias",
    "c.weight",
               "head.weight", "head.bias", "thetas", "modes", "log_t", "clock", "clock_value", "log_inverse_loss", "x",
               "../x", "", "é")  # fmt: skip
CELLS = ("1", "-1", "0", "2", "0.5", "x", "", " ", "nan", "inf", "1e400", "٣", '"', '"a,b"', "\0", "1;2", "0x1", "é",
    "y", "1e-320",
         "#", "1\r", "+1", "1_0", "a" * 200, "-0", "1e5", "99999999999999999999", "\ufeff1", "True")  # fmt: skip
COLUMNS = ("key", "config", "record", "version", "seconds", "finished", "status", "error", "study", "seed", "revision",
           "versions")  # fmt: skip
STORED = ("{", "null", "[]", "1", "x", "{}", '{"a": [1]}', '{"a": 1e999}', "", "NaN", '{"R0": "x"}', "[" * 2000, "b",
          '{"task": null}', '{"a": {"b": 1}}', '{"": 1}')  # fmt: skip
NO_DESCRIPTIONS = ("", "null", "[", '"', "NaN", '{"input_shape": [' + "9" * 5000 + '], "nodes": []}', '"\\ud800"',
                   '{"nodes": 1, "nodes": 2}', '{"input_shape": [2], "nodes": [{"op": "\\ud800"}]}')  # fmt: skip


def nested(depth: int) -> tuple[str, ...]:
    """JSON of that depth, alone and inside a description."""
    lists = "[" * depth + "]" * depth
    shape, nodes = f'{{"input_shape": {lists}, "nodes": []}}', f'{{"input_shape": [2], "nodes": [{lists}]}}'
    return lists, '{"a":' * depth + "1" + "}" * depth, shape, nodes
