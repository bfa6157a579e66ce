"""Names of optimizers: one for each, whatever a library calls it."""

from __future__ import annotations

import re
from collections.abc import Iterable

ALIASES = {
    "adamw": "adamw_torch adamw_torch_fused adamw_torch_xla adamw_torch_npu_fused adamw_hf adamw_apex_fused "
    "adamw_anyprecision adamw_8bit adamw_bnb_8bit paged_adamw paged_adamw_8bit paged_adamw_32bit fused_adam "
    "fused_adamw deepspeed_cpu_adam",
    "adafactor": "adafactor_hf",
    "lion": "lion_8bit lion_32bit paged_lion paged_lion_8bit paged_lion_32bit fused_lion",
    "lamb": "fused_lamb",
    "muon": "muon_with_aux_adam single_device_muon single_device_muon_with_aux_adam dist_muon "
    "distributed_muon",
    "cautious": "c_adamw cautious_adamw adamw_cautious",
    "kron": "psgd psgd_kron kron_psgd",
    "mars": "mars_adamw adamw_mars",
    "mini": "adam_mini adamw_mini mini_adam",
    "soape": "soap",
    "sophia": "sophia_g sophiag",
}
"""Other spellings of each optimizer, joined by underscores.

``FusedAdam`` (Apex, DeepSpeed) is AdamW by default; 8-bit and fused kernels take their optimizer's step.
``cautious``, ``kron``, ``mini`` and ``soape`` are the names of the Marin sweep (arXiv 2509.02046), whose runs
the shipped posterior was fitted to.
"""


MODULE = re.compile(r"^(\w+\.)*(optax|\w*optim\w*)\.(\w+\.)*")
"""What stands before the class in ``torch.optim.AdamW``."""


def _key(name: str) -> str:
    """Letters and digits."""
    return re.sub(r"[^a-z0-9]+", "", name)


_CANONICAL = {_key(alias): name for name, aliases in ALIASES.items() for alias in [name, *aliases.split()]}


def canonical(name: str, known: Iterable[str] = ()) -> str:
    """Name of an optimizer as run tables have it.

    Args:
        name: any spelling: of a class, of an option, of the literature.
        known: names that stay as they are, such as those of a posterior.

    Returns:
        The name in `ALIASES` that it is a spelling of, else itself in lower case.

    >>> canonical("torch.optim.AdamW"), canonical("MuonWithAuxAdam"), canonical("adam-mini")
    ('adamw', 'muon', 'mini')
    >>> canonical("Ours"), canonical("SOAP", known=["soap"])
    ('ours', 'soap')
    """
    given = str(name).strip().lower()
    bare = MODULE.sub("", given)
    return given if given in set(known) else _CANONICAL.get(_key(bare), bare)
