"""The named symbols of all closed forms; one name means one thing."""

from __future__ import annotations

import sympy as sp

K, K_A, K_B, K_g, L = sp.symbols("K K_A K_B K_g L", positive=True, integer=True)
E_W, E_H, R, N, n, n_A, n_B, n_g = sp.symbols("E_W E_H R N n n_A n_B n_g", positive=True)
lam_W, lam_H, lam_Z, lam_b, Lam = sp.symbols("lam_W lam_H lam_Z lam_b Lam", positive=True)
a, q_A, q_B, mu, t, sigma, x = sp.symbols("a q_A q_B mu t sigma x", positive=True)
e = sp.Symbol("e", nonnegative=True)
alpha, gamma, omega, pi_k, M, N_w, s = sp.symbols("alpha gamma omega pi_k M N_w s", positive=True)

ONE = sp.Integer(1)
EVERY_K = "symbolic in K and in all other symbols"
EVERY_GROUP = "symbolic in K_A, K_B and in all other symbols"
