"""The bridge's names: each is found in its file, none costs PyTorch before it is used."""

import importlib
import subprocess
import sys

import simulations.bridge as bridge


def test_every_name_is_found_and_listed_once():
    assert sorted(bridge.__all__) == sorted(bridge._HOME) == dir(bridge)
    for name, file in bridge._HOME.items():
        assert getattr(bridge, name) is getattr(importlib.import_module(f"simulations.bridge.{file}"), name)
        assert callable(getattr(bridge, name))


def test_the_room_imports_nothing_heavy():
    code = "import sys, simulations.bridge; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False"]


def test_a_missing_pytorch_is_one_sentence():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import simulations.bridge as bridge; from theory import PreconditionError\n"
        "for name in ('last_layer_features', 'CollapseMonitor'):\n"
        "    try: getattr(bridge, name)\n"
        "    except PreconditionError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.count("needs PyTorch: pip install 'deep-classifier-theory[torch]'.") == 2
