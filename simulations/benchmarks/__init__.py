"""Speed and accuracy as ratios within one run, not as tests.

Every module here has ``run() -> list[dict]`` and ``main()``, which prints a table;
``python -m simulations.benchmarks [--quick]`` prints them all.
"""
