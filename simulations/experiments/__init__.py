"""Experiments that confront a prediction with measurement."""
