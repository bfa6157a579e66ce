"""Tables of runs that vary the network at one learning rate: they inform the level, not the optimum."""

from __future__ import annotations

import numpy as np
import pandas as pd

OPENLM_SEQUENCE = 2048
FFN_MULTIPLE = 256
"""OpenLM's feed-forward width is a multiple of this."""

LADDER_RUN = r"^(?P<size>[0-9]+[MB])-(?P<multiple>[0-9.]+)xC(?:-rerun)?$"
"""Name of a run of the ladder; others in the table are parts of the 7B and 13B runs."""

CHINCHILLA = 20.0
"""Tokens per parameter that the ladder's names count in."""

OPENLM_NOTE = (
    "OpenLM grid conventions: N without embeddings and output head, batch in sequences of 2,048 tokens, "
    "cosine to 3e-5; one learning rate only, so these runs say nothing of its optimum"
)
LADDER_NOTE = (
    "OLMo ladder conventions: the last point of each curve, loss is the C4-en validation; one learning rate "
    "a size, so these runs say nothing of its optimum; parts of the 7B and 13B runs are left out"
)


def openlm(raw: pd.DataFrame, study: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Grid of widths, depths, heads and warm-ups of mlfoundations/scaling (Gadre et al., arXiv 2403.08540).

    N is 4 w^2 + 3 w f per layer, with SwiGLU's f = 8 w/3 rounded up to a multiple of 256. Warm-up is in
    steps. The size of a head is kept as ``extra_head_dim``, since networks of one N differ in it.
    """
    study = study or "openlm"
    ffn = FFN_MULTIPLE * np.ceil((8 * raw["width"] // 3) / FFN_MULTIPLE)
    batch = raw["f4"] * OPENLM_SEQUENCE
    table = pd.DataFrame(
        {
            "run_id": study + "-" + raw["key"],
            "study": study,
            "optimizer": "adamw",
            "params_nonembedding": raw["depth"] * (4 * raw["width"] ** 2 + 3 * raw["width"] * ffn),
            "width": raw["width"],
            "depth": raw["depth"],
            "heads": raw["heads"],
            "tokens": raw["tokens"],
            "batch_tokens": batch,
            "sequence_length": OPENLM_SEQUENCE,
            "learning_rate": raw["lr"],
            "schedule": "cosine",
            "warmup_tokens": raw["warmup"] * batch,
            "final_lr_ratio": raw["cd"] / raw["lr"],
            "weight_decay": raw["wd"],
            "loss": raw["loss"],
            "loss_kind": "val_final",
            "status": np.where(raw["loss"].isna(), "crashed", "finished"),
            "extra_head_dim": raw["width"] / raw["heads"],
        }
    )
    return table, [OPENLM_NOTE]


def olmo_ladder(raw: pd.DataFrame, study: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Last points of the curves of allenai/OLMo-ladder (Bhagia et al., arXiv 2412.04403).

    N is D / (20 multiple) of a size's longest run, exact to a batch in its tokens; cosine to a tenth.
    """
    study = study or "olmo-ladder"
    named = raw["run"].str.extract(LADDER_RUN)
    runs = raw.assign(**named)[named["size"].notna()].sort_values("_step")
    last = runs.groupby("run", as_index=False).last()
    tokens = last["_step"] * last["batch_size_in_tokens"]
    params = tokens / (CHINCHILLA * last["multiple"].astype(float))
    longest = last.assign(params=params, tokens=tokens).sort_values("tokens").groupby("size")["params"].last()
    loss = last["eval/c4_en-validation/CrossEntropyLoss"]
    table = pd.DataFrame(
        {
            "run_id": study + "-" + last["run"],
            "study": study,
            "optimizer": "adamw",
            "params_nonembedding": last["size"].map(longest).round(),
            "tokens": tokens,
            "batch_tokens": last["batch_size_in_tokens"],
            "learning_rate": last["learning_rate_peak"],
            "schedule": "cosine",
            "final_lr_ratio": 0.1,
            "seed": last["run"].str.endswith("-rerun").astype(int),
            "loss": loss,
            "loss_kind": "val_final",
            "status": np.where(loss.isna(), "crashed", "finished"),
        }
    )
    return table, [LADDER_NOTE]
