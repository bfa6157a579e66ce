"""How long a design takes: a batch of 8 from 2,000 candidates, from the posterior in memory to the plan.

    python -m tests.studies.design_speed            # the shipped posterior; about half a minute

Prints wall and processor seconds, the median of five, for a known set-up, one never seen, and a pool of many
cells. On a machine with other jobs the processor seconds are the ones to compare.
"""

from __future__ import annotations

import time
from statistics import median

from bayeslaw.assets import POSTERIOR
from bayeslaw.planning.batches import design
from bayeslaw.planning.candidates import drawn_from, with_cost
from bayeslaw.planning.policies import POLICIES
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.target import Target

SPACE = {
    "count": 2000,
    "optimizer": ["adamw", "muon"],
    "params_nonembedding": [5e7, 1e8, 2e8, 4e8, 8e8],
    "tokens_per_param": [20, 50, 100],
    "learning_rate": {"low": 2e-4, "high": 1e-2},
    "batch_tokens": {"low": 6e4, "high": 2e6},
    "weight_decay": {"low": 0.01, "high": 1.0},
}
MANY = SPACE | {"params_nonembedding": {"low": 5e7, "high": 8e8}, "optimizer": "adamw"}
CASES = [(space, study, "regret") for space in (SPACE, MANY) for study in ("steplaw", None)]
CASES += [(SPACE, None, policy) for policy in POLICIES if policy != "regret"]


def main() -> None:
    posterior = read_posterior(POSTERIOR)
    print(f"{posterior.draws} draws; cells, set-up, policy: wall s, processor s")
    for space, study, policy in CASES:
        pool, _ = with_cost(drawn_from(space, "space"), "space")
        cells = pool.groupby(["optimizer", "params_nonembedding", "tokens"]).ngroups
        spent = []
        for _ in range(5):
            wall, cpu = time.perf_counter(), time.process_time()
            design(posterior, [Target(7e9, 1.4e11, "adamw", study)], pool, 1e21, policy=policy)
            spent.append((time.perf_counter() - wall, time.process_time() - cpu))
        seconds = [median(part) for part in zip(*spent, strict=True)]
        print(
            f"{cells:5d} {study or 'never seen':10s} {policy:12s} {seconds[0]:6.2f} {seconds[1]:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
