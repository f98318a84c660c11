"""Mutation testing of the closed forms and certificates: ``python -m tests.mutants``."""
