"""Speed and accuracy beside what people use today, as ratios within one run, not as tests.

Every module without an underscore has ``compare(quick=False, callback=None) -> list[Comparison]`` and ``main()``, which
prints its tables; ``python -m simulations.benchmarks [--quick] [--only NAME,..] [--out docs]`` runs them all.
``callback`` is called with a line of text before each measurement.
"""
