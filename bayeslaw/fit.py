"""Draw from the posterior: NUTS on coordinates whitened by a Gaussian approximation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4 --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.flatten_util import ravel_pytree
from numpyro.infer import MCMC, NUTS
from numpyro.infer.util import log_density
from scipy.optimize import minimize

from bayeslaw.model import surface_model
from bayeslaw.sweep import Sweep

jax.config.update("jax_enable_x64", True)
numpyro.set_host_device_count(4)

SPREADS = ("log_between_optimizers", "log_between_studies")


class Gaussian(NamedTuple):
    mean: np.ndarray
    scale: np.ndarray  # (dim, dim), mean + scale @ z


def initial(sweep: Sweep) -> dict[str, Any]:
    trace = numpyro.handlers.trace(numpyro.handlers.substitute(numpyro.handlers.seed(surface_model, 0), substitute_fn=_prior_mean)).get_trace(sweep)
    return {k: v["value"] for k, v in trace.items() if v["type"] == "sample" and not v["is_observed"]}

def _prior_mean(site):
    if site["type"] == "sample" and not site["is_observed"]:
        return jnp.asarray(site["fn"].mean)
    return None


def prior_sds(sweep):
    trace = numpyro.handlers.trace(numpyro.handlers.substitute(numpyro.handlers.seed(surface_model, 0), substitute_fn=_prior_mean)).get_trace(sweep)
    return {k: jnp.sqrt(jnp.asarray(v["fn"].variance)) for k, v in trace.items() if v["type"] == "sample" and not v["is_observed"]}

def potential(sweep: Sweep):
    start = initial(sweep)
    flat, unravel = ravel_pytree(start)
    def energy(x):
        return -log_density(surface_model, (sweep,), {}, unravel(x))[0]
    return energy, flat, unravel

def laplace(vg, hess, start, frozen, prior_sd, rounds=4, verbose=True):
    """Mode with the `frozen` coordinates held, and the curvature there."""
    x = np.array(start); S = np.diag(np.where(frozen, 0.0, prior_sd))
    for i in range(rounds):
        def f(y):
            v, g = vg(jnp.asarray(x + S @ y))
            return float(v), S.T @ np.asarray(g)
        t=time.time()
        r = minimize(f, np.zeros(len(x)), jac=True, method="L-BFGS-B", options=dict(maxiter=300, maxfun=400, ftol=1e-10, gtol=1e-2, maxcor=30))
        x = x + S @ r.x
        H = hess(x)
        if verbose: print(f"  round {i} f {r.fun:.2f} nit {r.nit} nfev {r.nfev} {time.time()-t:.1f}s mineig {np.linalg.eigvalsh(H)[:2]}")
        Hm = H.copy(); Hm[frozen]=0; Hm[:,frozen]=0
        S = whiten_masked(Hm, frozen)
        if r.nit < 25 and i > 0: break
    return x, H, r

def whiten_masked(H, frozen):
    free = np.flatnonzero(~frozen); S = np.zeros_like(H)
    S[np.ix_(free, free)] = whiten(H[np.ix_(free, free)], 1e-2)
    return S

def whiten_blocks(H, frozen, prior_sd):
    S = whiten_masked(H, frozen)
    f = np.flatnonzero(frozen); S[f, f] = prior_sd[f]
    return S

def make_hessian(energy, dim, block=64):
    hvp = jax.jit(lambda x, vs: jax.vmap(lambda v: jax.jvp(jax.grad(energy), (x,), (v,))[1])(vs))
    def hess(x):
        eye = np.vstack([np.eye(dim), np.zeros(((-dim) % block, dim))])
        return np.vstack([np.asarray(hvp(jnp.asarray(x), jnp.asarray(eye[i:i+block]))) for i in range(0, len(eye), block)])[:dim]
    return hess

def hessian(energy, x, block=64):
    hvp = jax.jit(jax.vmap(lambda v: jax.jvp(jax.grad(energy), (x,), (v,))[1]))
    eye = np.eye(len(x)); pad = (-len(x)) % block
    eye = np.vstack([eye, np.zeros((pad, len(x)))])
    return np.vstack([np.asarray(hvp(jnp.asarray(eye[i:i+block]))) for i in range(0, len(eye), block)])[:len(x)]

def whiten(H, floor=0.25):
    w, V = np.linalg.eigh((H+H.T)/2)
    return V / np.sqrt(np.maximum(w, floor))

def sample(energy, mode, S, chains, warmup, draws, seed, target, max_depth, z0=None):
    Sj, mj = jnp.asarray(S), jnp.asarray(mode)
    kernel = NUTS(potential_fn=lambda z: energy(mj + Sj @ z), target_accept_prob=target, max_tree_depth=max_depth, dense_mass=False)
    mcmc = MCMC(kernel, num_warmup=warmup, num_samples=draws, num_chains=chains, chain_method="parallel", progress_bar=False)
    if z0 is None: z0 = jax.random.normal(jax.random.PRNGKey(seed+1), (chains, len(mode)))*0.5
    mcmc.run(jax.random.PRNGKey(seed), init_params=z0, extra_fields=("num_steps", "diverging", "accept_prob", "adapt_state.step_size"))
    z = mcmc.get_samples(group_by_chain=True)
    x = np.asarray(mj + jnp.einsum('ij,cdj->cdi', Sj, z))
    return x, {k: np.asarray(v) for k, v in mcmc.get_extra_fields(group_by_chain=True).items()}

def run(sweep, chains=4, warmup=300, draws=300, seed=0, target=0.85, verbose=True, max_depth=7, pilot=150):
    t0 = time.time()
    energy, start, unravel = potential(sweep)
    frozen = np.asarray(ravel_pytree({k: jnp.full(jnp.shape(v), float(k in SPREADS or k.startswith("log_tau"))) for k, v in unravel(start).items()})[0]) > 0
    prior_sd = np.asarray(ravel_pytree(prior_sds(sweep))[0])
    vg = jax.jit(jax.value_and_grad(energy)); hess = make_hessian(energy, len(start))
    mode, H, r = laplace(vg, hess, start, frozen, prior_sd)
    t1 = time.time()
    S = whiten_blocks(H, frozen, prior_sd)
    if verbose: print(f"dim {len(mode)} mode {r.fun:.1f} nit {r.nit} {t1-t0:.1f}s eig min {np.linalg.eigvalsh(H)[:3]}")
    if pilot:
        x, ex = sample(energy, mode, S, chains, pilot, pilot, seed, 0.8, 5)
        if verbose: print(f"pilot {time.time()-t1:.1f}s steps {ex['num_steps'].mean():.1f} eps {ex['adapt_state.step_size'][:, -1]} div {ex['diverging'].sum()}")
        flat = x[:, pilot//3:].reshape(-1, x.shape[-1])
        start2 = mode.copy(); start2[frozen] = flat.mean(0)[frozen]
        mode, H, r = laplace(vg, hess, start2, frozen, prior_sd)
        prior_sd = np.where(frozen, flat.std(0), prior_sd)
        S = whiten_blocks(H, frozen, prior_sd)
        z0 = jnp.asarray(np.linalg.solve(S, (x[:, -1] - mode).T).T)
    else: z0 = None
    t2=time.time()
    x, ex = sample(energy, mode, S, chains, warmup, draws, seed+7, target, max_depth, z0)
    if verbose: print(f"sampled {time.time()-t2:.1f}s steps {np.mean(ex['num_steps']):.1f} max {np.max(ex['num_steps'])} div {np.sum(ex['diverging'])} eps {ex['adapt_state.step_size'][:, -1]} total {time.time()-t0:.1f}")
    flat = jax.vmap(jax.vmap(unravel))(jnp.asarray(x))
    return {k: np.asarray(v) for k, v in flat.items()}, ex, (mode, S, unravel)

def summary(draws):
    import arviz as az
    ds = az.from_dict(posterior=draws)
    rh = az.rhat(ds); eb = az.ess(ds, method='bulk'); et = az.ess(ds, method='tail')
    rows = []
    for k in draws:
        rows.append((k, float(rh[k].max()), float(eb[k].min()), float(et[k].min())))
    return rows
