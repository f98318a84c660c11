"""Where randomness, data and training live: the command line, experiments and benchmarks around ``theory``."""
