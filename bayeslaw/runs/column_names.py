"""Meanings of foreign columns: synonyms, and names too ambiguous to guess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from bayeslaw.errors import BadInput
from bayeslaw.runs.schema import COLUMNS

SYNONYMS: dict[str, str] = {
    "run_id": "id run run_name name exp_name experiment",
    "study": "sweep_name project experiment_name study_name",
    "optimizer": "optim opt optimizer_name optimizer_type",
    "params_nonembedding": "n_nonembedding n_params_nonembedding num_params_nonembedding nonembedding_params "
    "nonembedding_param_size nonembedding_parameters num_nonembedding_params n_nonembedding_params",
    "params_total": "total_params n_params_total num_params_total total_parameters",
    "params_embedding": "embedding_params n_params_embedding n_params_embed n_embedding_params n_embd_params "
    "n_emb_params num_embedding_params embedding_parameters num_embedding_parameters",
    "vocab_size": "padded_vocab_size n_vocab",
    "tied_embeddings": "tie_word_embeddings tie_embeddings weight_tying",
    "width": "d_model hidden_size hidden_dim n_embd",
    "depth": "n_layer n_layers num_layers num_hidden_layers",
    "heads": "n_head n_heads num_heads num_attention_heads",
    "normalization": "normalisation norm_type normalization_type",
    "tokens": "d n_tokens num_tokens total_tokens train_tokens data_size tokens_seen training_tokens "
    "max_tokens",
    "tokens_per_param": "tpp d_n tokens_per_parameter token_param_ratio",
    "steps": "n_steps num_steps max_steps train_steps total_steps iterations iters max_iters num_train_steps "
    "train_iters num_iterations num_training_steps training_steps",
    "last_step": "global_step",
    "epochs": "num_epochs n_epochs max_epochs num_train_epochs",
    "epoch_steps": "steps_per_epoch num_batches_per_epoch",
    "epoch_tokens": "tokens_per_epoch dataset_tokens",
    "epoch_sequences": "dataset_size num_examples num_train_examples",
    "sequences": "train_samples num_sequences train_sequences",
    "batch_tokens": "batch_size_tokens batch_size_in_tokens tokens_per_batch tokens_per_step "
    "global_batch_tokens total_batch_size_tokens",
    "batch_sequences": "batch_size_sequences sequences_per_batch batch_size_in_sequences",
    "device_batch": "per_device_train_batch_size per_device_batch_size micro_batch_size local_batch_size "
    "device_batch_size device_train_microbatch_size",
    "accumulation": "gradient_accumulation_steps grad_accum_steps grad_accumulation_steps "
    "accumulate_grad_batches",
    "devices": "world_size n_gpu n_gpus num_gpus num_devices data_parallel_size",
    "sequence_length": "seq_len seqlen seq_length context_length max_seq_len n_ctx max_sequence_length "
    "block_size max_seq_length",
    "tokenizer": "tokenizer_name",
    "learning_rate": "lr peak_lr max_lr peak_learning_rate max_learning_rate",
    "schedule": "lr_schedule lr_scheduler scheduler lr_scheduler_type lr_decay_style decay_type",
    "warmup_steps": "warmup_iters num_warmup_steps lr_warmup_steps lr_warmup_iters",
    "warmup_share": "warmup_ratio warmup_fraction warmup_frac lr_warmup_fraction",
    "final_lr_ratio": "min_lr_ratio lr_min_ratio min_lr_factor",
    "final_learning_rate": "min_lr final_lr min_learning_rate",
    "decay_share": "decay_fraction decay_frac cooldown_fraction cooldown_frac decay_ratio",
    "beta1": "beta_1 adam_beta1 b1",
    "beta2": "beta_2 adam_beta2 b2",
    "betas": "adam_betas",
    "weight_decay": "wd",
    "epsilon": "eps adam_eps adam_epsilon",
    "grad_clip": "max_grad_norm grad_clip_norm clip_grad gradient_clip gradient_clip_val "
    "max_norm gradient_clipping",
    "seed": "random_seed",
    "loss": "final_loss val_loss eval_loss valid_loss validation_loss train_loss lm_loss smooth_loss "
    "loss_nats_per_token final_val_loss global_avg_loss",
    "loss_bits": "bits_per_token",
    "perplexity": "ppl val_ppl",
    "status": "state",
    "flops": "total_flops",
    "wall_seconds": "runtime duration_seconds runtime_seconds train_runtime",
    "commit": "git_commit",
    "created": "created_at",
}
"""Other names of each role, normalised as `_plain` does."""

ROLES = tuple(dict.fromkeys([*SYNONYMS, *(column.name for column in COLUMNS)]))
OUTCOMES = ("loss", "loss_bits", "perplexity", "status", "flops", "wall_seconds", "created")
"""Roles that a run reports; all others are settings, which its configuration knows better."""

PEAK = ("peak_lr", "max_lr", "peak_learning_rate", "max_learning_rate")
RANKED = ("run_id",)  # several names may occur together; the first synonym wins
AMBIGUOUS = {
    "batch_tokens": "bs b bsz batch batch_size global_batch_size train_batch_size "
    "global_train_batch_size total_batch_size",
    "params_nonembedding": "n params n_params num_params parameters num_parameters model_size param_count",
}


class Reading(NamedTuple):
    """How a role was read: from which column, and why that one."""

    role: str
    column: str
    reason: str


def reason(role: str, name: str) -> str:
    """Why a column is taken for a role that nobody named.

    >>> reason("learning_rate", "config.optimizer.lr")
    'ends in lr, a name of the learning_rate'
    >>> reason("sequence_length", "seq_len"), reason("loss", "metrics.loss")
    ('a name of the sequence_length', 'its own name')
    """
    words = _names(role)
    if _plain(name) == role:
        return "its own name"
    return (
        f"a name of the {role}" if _plain(name) in words else f"ends in {_last(name)}, a name of the {role}"
    )


def resolve_roles(
    names: Iterable[str], mapping: Mapping[str, str], source: str, confirm: bool = False
) -> dict[str, str]:
    """Find the column of each role.

    A mapped column wins, then the role's own name, then a synonym (`lr`, `seq_len`, `val/loss`). Of settings,
    columns of a configuration come before logged ones (`summary.lr`, `train/lr`), of outcomes after. A
    learning rate is the peak by name (`max_lr`), else of a configuration (`optimizer.lr`), else plain; never
    a logged one, which would be the last of its schedule.

    Args:
        names: columns of the foreign table.
        mapping: role to column, as given by the user.
        source: the file, for messages.
        confirm: whether to take the first of several losses: evaluations come before training losses.

    Returns:
        Role to column, for the roles that were found.

    Raises:
        BadInput: an unknown role or column, or two columns that could have the same role.

    >>> resolve_roles(["lr", "val/loss", "D"], {}, "sweep.csv")
    {'tokens': 'D', 'learning_rate': 'lr', 'loss': 'val/loss'}
    """
    names = list(names)
    _check_mapping(names, mapping, source)
    free = [name for name in names if name not in mapping.values()]
    roles = dict(mapping)
    for role in ROLES:
        found = [] if role in roles else _candidates(role, free)
        if len(found) > 1 and not (confirm and role == "loss"):
            choices = " or ".join(f"--map {role}={name}" for name in found)
            first = f", or --confirm for {found[0]}" if role == "loss" else ""
            raise BadInput(
                f"{source}: {role} could be {' or '.join(found)}; expected one; add {choices}{first}"
            )
        if found:
            roles[role] = found[0]
    return roles


def ambiguous(role: str, names: Iterable[str]) -> str | None:
    """A column that is probably meant, but not for sure: a batch or a count without a unit, a logged rate."""
    if role == "learning_rate":
        return next(iter(_named(role, list(names))), None)
    wanted = set(AMBIGUOUS.get(role, "").split())
    return next((name for name in names if {_plain(name), _last(name)} & wanted), None)


def alternatives(role: str, names: Iterable[str]) -> list[str]:
    """Every column that by its name could hold a role, likelier first; no logged one for a setting.

    >>> alternatives("learning_rate", ["lr", "train/lr", "config.optimizer.lr"])
    ['config.optimizer.lr', 'lr']
    """
    words = set(_names(role))
    ranked = dict.fromkeys(name for group in _ranked(role, list(names)) for name in group)
    usable = [name for name in ranked if role in OUTCOMES or not _logged(name)]
    return [name for name in usable if {_plain(name), _last(name)} & words]


def reported(name: str) -> bool:
    """Whether a column's name is that of something a run reports, not one of its settings.

    >>> [reported(name) for name in ("train/loss", "ppl", "config.loss", "corpus")]
    [True, True, False, False]
    """
    outcome = any(alternatives(role, [name]) for role in OUTCOMES)
    return _logged(name) or (outcome and not CONFIGURED.match(name))


def loss_kind(column: str) -> str | None:
    """Kind of loss, if the name of its column tells.

    >>> loss_kind("metrics.eval_loss"), loss_kind("loss")
    ('val_final', None)
    """
    name = column.lower()
    if "val" in name:
        return "val_final"
    if "smooth" in name:
        return "train_smoothed"
    return "train_final" if "train" in name else None


def named(plain: str, names: Iterable[str]) -> str | None:
    """A column by its name or last part, normalised; None where there is none.

    >>> named("hidden_act", ["lr", "config.model.hidden_act"])
    'config.model.hidden_act'
    """
    return next((name for name in names if plain in (_plain(name), _last(name))), None)


def _check_mapping(names: list[str], mapping: Mapping[str, str], source: str) -> None:
    for role, name in mapping.items():
        if role not in ROLES and not re.fullmatch(r"extra_\w+", role):
            raise BadInput(
                f"{source}: --map {role}={name}: unknown role; expected one of {', '.join(ROLES)}, "
                "or extra_NAME for another setting"
            )
        if name not in names:
            raise BadInput(
                f"{source}: --map {role}={name}: no such column; found {', '.join(map(str, names[:60]))}"
            )


def passed_over(role: str, names: Iterable[str], chosen: str) -> list[str]:
    """Columns that have a name of the role, and are not the one that was chosen."""
    words = {role, *SYNONYMS.get(role, "").split()}
    return [name for name in names if name != chosen and {_plain(name), _last(name)} & words]


def _candidates(role: str, names: list[str]) -> list[str]:
    """Columns that could be the role: the first group of `_ranked` that has any by `_named`."""
    return next((found for group in _ranked(role, names) if (found := _named(role, group))), [])


def _ranked(role: str, names: list[str]) -> list[list[str]]:
    """Columns in groups, those that are likelier the role first."""
    if role in OUTCOMES:
        return [[name for name in names if not CONFIGURED.match(name)], names]
    settings = [name for name in names if not _logged(name)]
    if role != "learning_rate":
        return [settings, names]
    own = [name for name in settings if name == role]
    peak = [name for name in settings if {_plain(name), _last(name)} & set(PEAK)]
    nested = [name for name in settings if "." in name or CONFIGURED.match(name)]
    return [own, peak, nested, settings]


def _logged(name: str) -> bool:
    """Whether a column's name is that of a metric: ``summary.lr``, ``train/lr``, ``train.lr``."""
    slash = "/" in name and not CONFIGURED.match(name)
    return bool(slash or REPORTED.match(name) or LOGGED.match(name))


def _names(role: str) -> list[str]:
    """A role's own name and its synonyms, as `_plain` has them."""
    return [role, *SYNONYMS.get(role, "").split()]


def _named(role: str, names: list[str]) -> list[str]:
    """Columns by the role's own name, else by a synonym, of the whole or else of the last part."""
    synonyms = _names(role)
    for part in (_plain, _last):
        own = [name for name in names if part(name) == role]
        if own:
            return own
        found = [name for synonym in synonyms for name in names if part(name) == synonym]
        if found:
            return found[:1] if role in RANKED else found
    return []


CONFIGURED = re.compile(r"^\s*(config|params)[./]", re.I)
REPORTED = re.compile(r"^\s*(summary|summary_metrics|metrics)[./]", re.I)
LOGGED = re.compile(r"^\s*(train|training|val|valid|eval)\.", re.I)


@cache
def _plain(name: str) -> str:
    """Lower case, words joined by underscores, without the prefixes of an export (W&B, Ray, MLflow).

    >>> _plain("config.model.N-Params"), _plain("config/n_params_non_embed")
    ('model_n_params', 'n_params_nonembedding')
    """
    name = REPORTED.sub("", CONFIGURED.sub("", str(name), count=1), count=1).strip().lower()
    joined = re.sub(r"[^a-z0-9]+", "_", name).strip("_")
    return re.sub(r"(?<![a-z])non_?emb(ed(ding)?s?)?(?![a-z])", "nonembedding", joined)


@cache
def _last(name: str) -> str:
    """Part after the last dot or slash: ``optim.lr`` is ``lr``."""
    return _plain(re.split(r"[./]", str(name))[-1])
