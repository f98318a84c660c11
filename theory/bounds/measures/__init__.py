"""Measures of trained networks; no bounds."""
