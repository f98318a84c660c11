"""Closed-form solutions of gradient flow that pin an integrator."""
