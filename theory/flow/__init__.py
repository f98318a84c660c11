"""Gradient flow of homogeneous networks: exact through the kinks, certified at the end."""

from __future__ import annotations
