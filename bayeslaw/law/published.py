"""Published laws of learning rate, batch, critical batch and weight decay, in one interface.

Conventions everywhere: N non-embedding parameters [count], D training tokens [count], batch in tokens,
C = 6 N D training FLOPs, peak learning rate. Each law keeps its own units inside. A law advises on what it
speaks of. Rules that need a tuned run to start from are in ``rules``.

>>> for name, law in LAWS.items():
...     print(f"{name:11s}", *(f"{key}={value:.2e}" for key, value in law.recommend(1e9, 1e11).items()))
step        learning_rate=1.63e-03 batch_tokens=1.11e+06
deepseek    learning_rate=7.88e-04 batch_tokens=1.83e+06
bjorck      learning_rate=3.44e-04
kaplan      learning_rate=3.48e-04 critical_batch_tokens=3.27e+06
porian      learning_rate=2.13e-03 batch_tokens=1.61e+06
zhou        learning_rate=5.35e-05
minicpm     batch_tokens=5.52e+06
power-lines batch_tokens=1.02e+06 critical_batch_tokens=1.17e+07 weight_decay=6.55e-02
zhang       critical_batch_tokens=2.63e+06
merrill     critical_batch_tokens=1.68e+07
saturating  learning_rate=1.42e-03 batch_tokens=1.11e+06
constant    learning_rate=2.00e-03 batch_tokens=5.00e+05
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.law import batches
from bayeslaw.theory.saturation import Saturation, saturating_learning_rate

Range = tuple[float, float]


@dataclass(frozen=True)
class Law:
    """One published law.

    Attributes:
        name: its key in ``LAWS``.
        optimizer: optimizer that it was fitted for.
        formula: as published, without transcription errors of secondary sources.
        units: of inputs and outputs.
        source: paper and place.
        learning_rate: peak learning rate of (N, D); None where the paper gives no such law.
        batch_tokens: batch [tokens] of (N, D), or None.
        learning_rate_at: peak learning rate of (N, D, batch [tokens]), of a law that conditions on the batch.
        critical_batch_tokens: batch [tokens] of (N, D) beyond which more tokens a step hardly help, or None.
        weight_decay: decoupled weight decay of (N, D, batch [tokens], peak learning rate), or None.
        fixed_batch_tokens: batch at which the learning rate was fitted, if there was only one.
        params_range: range of N that it was fitted on, or None if the source does not state it.
        tokens_range: range of D that it was fitted on, or None.
        flops_range: range of C that it was fitted on, or None.
        published: False for what stands beside the published laws to compare.
        note: caveat on its use, and which constants are second hand.
    """

    name: str
    optimizer: str
    formula: str
    units: str
    source: str
    learning_rate: Callable[[float, float], float] | None = None
    batch_tokens: Callable[[float, float], float] | None = None
    learning_rate_at: Callable[[float, float, float], float] | None = None
    critical_batch_tokens: Callable[[float, float], float] | None = None
    weight_decay: Callable[[float, float, float, float], float] | None = None
    fixed_batch_tokens: float | None = None
    params_range: Range | None = None
    tokens_range: Range | None = None
    flops_range: Range | None = None
    published: bool = True
    note: str = ""

    def recommend(
        self, params_nonembedding: float, tokens: float, batch_tokens: float | None = None
    ) -> dict[str, float]:
        """What the law says, by name: learning_rate, batch_tokens, critical_batch_tokens, weight_decay.

        What it does not speak of is absent. A given ``batch_tokens`` is echoed. The learning rate is then
        that of the law's own batch (``warnings`` says so), unless the law conditions on the batch. A law of
        weight decay without a learning rate or batch of its own uses Step Law's.

        Raises:
            BadInput: sizes that are not finite and positive, or a size where the formula breaks down.

        >>> {k: float(f"{v:.3g}") for k, v in LAWS["step"].recommend(1e9, 1e11).items()}
        {'learning_rate': 0.00163, 'batch_tokens': 1110000.0}
        """
        n, d = params_nonembedding, tokens
        _check_size("params_nonembedding", n)
        _check_size("tokens", d)
        if batch_tokens is not None:
            _check_size("batch_tokens", batch_tokens)
        advice = {}
        if self.learning_rate:
            advice["learning_rate"] = self._rate(n, d, batch_tokens)
        if batch_tokens is not None:
            advice["batch_tokens"] = float(batch_tokens)
        elif self.batch_tokens:
            advice["batch_tokens"] = float(self.batch_tokens(n, d))
        if self.critical_batch_tokens:
            advice["critical_batch_tokens"] = float(self.critical_batch_tokens(n, d))
        if self.weight_decay:
            batch = advice.get("batch_tokens", step_batch_tokens(n, d))
            rate = advice.get("learning_rate", step_learning_rate(n, d))
            advice["weight_decay"] = float(self.weight_decay(n, d, batch, rate))
        for name, value in advice.items():
            if not 0 < value < math.inf:
                raise BadInput(
                    f"law {self.name}: {name} = {value:.3g} at N = {n:g}, D = {d:g}; expected a finite "
                    f"number above 0, but {self.formula} breaks down this far out; choose nearer sizes"
                )
        return advice

    def _rate(self, n: float, d: float, batch: float | None) -> float:
        assert self.learning_rate is not None
        if batch is not None and self.learning_rate_at:
            rate = self.learning_rate_at(n, d, batch)
        else:
            rate = self.learning_rate(n, d)
        if not rate > 0:
            raise BadInput(
                f"law {self.name}: learning rate {rate:.3g} at N = {n:g}; expected > 0, "
                f"but {self.formula} breaks down this far out; choose another law or a smaller N"
            )
        return float(rate)

    def warnings(
        self, params_nonembedding: float, tokens: float, batch_tokens: float | None = None
    ) -> list[str]:
        """Warnings on this advice, one sentence each; empty inside the fitted range.

        >>> LAWS["step"].warnings(7e9, 5e10)
        ['step law: N = 7e+09 is 0.81 decades above its fitted range 5.9e+07 to 1.1e+09']
        """
        sizes = {
            "N": (params_nonembedding, self.params_range),
            "D": (tokens, self.tokens_range),
            "C": (6 * params_nonembedding * tokens, self.flops_range),
        }
        said = [self._outside(name, value, span) for name, (value, span) in sizes.items() if span]
        if batch_tokens is not None and self.learning_rate and not self.learning_rate_at:
            said.append(self._other_batch(params_nonembedding, tokens, batch_tokens))
        return [text for text in said if text]

    def _outside(self, name: str, value: float, span: Range) -> str:
        lower, upper = span
        if lower <= value <= upper:
            return ""
        decades, side = (
            (math.log10(lower / value), "below") if value < lower else (math.log10(value / upper), "above")
        )
        if decades < 0.005:
            return ""
        return (
            f"{self.name} law: {name} = {value:.2g} is {decades:.2f} decades {side} its fitted range "
            f"{lower:.2g} to {upper:.2g}"
        )

    def _other_batch(self, n: float, d: float, batch: float) -> str:
        own = self.batch_tokens(n, d) if self.batch_tokens else self.fixed_batch_tokens
        if own is None:
            return f"{self.name} law: the learning rate takes no account of the batch ({batch:.2g} tokens)"
        if abs(math.log(batch / own)) < math.log(1.05):
            return ""
        return f"{self.name} law: the learning rate is for a batch of {own:.2g} tokens, not {batch:.2g}"


def _check_size(name: str, value: float) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
        raise BadInput(f"law: {name} = {value!r}; expected a finite number above 0 [count]; give it as 7e9")


def step_learning_rate(n: float, d: float) -> float:
    """1.79 N^-0.713 D^0.307 (Step Law, arXiv 2503.04715).

    >>> round(step_learning_rate(1.073741824e9, 5.69e10), 5)
    0.00131
    """
    return 1.79 * n**-0.713 * d**0.307


def step_batch_tokens(n: float, d: float) -> float:
    """0.58 D^0.571 [tokens] (Step Law, arXiv 2503.04715).

    >>> round(step_batch_tokens(1e9, 1e11) / 2048)  # sequences
    541
    """
    return 0.58 * d**0.571


def deepseek_learning_rate(n: float, d: float) -> float:
    """0.3118 C^-0.1250 (DeepSeek LLM, arXiv 2401.02954 eq 1); its 7B on 2T tokens used 4.2e-4.

    >>> round(deepseek_learning_rate(7e9, 2e12), 5)
    0.00042
    """
    return 0.3118 * (6 * n * d) ** -0.1250


def deepseek_batch_tokens(n: float, d: float) -> float:
    """0.2920 C^0.3271 [tokens] (DeepSeek LLM, arXiv 2401.02954 eq 1); its 7B on 2T tokens used 9.4M.

    >>> round(deepseek_batch_tokens(7e9, 2e12) / 1e6, 1)
    9.2
    """
    return 0.2920 * (6 * n * d) ** 0.3271


def bjorck_learning_rate(n: float, d: float) -> float:
    """1.5e-3 N^-0.23 D^-0.32, N and D in billions, at a batch of 0.5M tokens (Bjorck, arXiv 2409.19913).

    Often misprinted as 1.3192e-5 in absolute units, which gives learning rates near 1e-11.

    >>> float(f"{bjorck_learning_rate(7e9, 1e12):.3g}")
    0.000105
    """
    return 1.5e-3 * (n / 1e9) ** -0.23 * (d / 1e9) ** -0.32


def kaplan_learning_rate(n: float, d: float) -> float:
    """0.003239 - 0.0001395 ln N (Kaplan, arXiv 2001.08361 appendix D.6); negative above N = 1.2e10.

    >>> kaplan_learning_rate(1.2e10, 1e9) > 0 > kaplan_learning_rate(1.3e10, 1e9)
    True
    """
    return 0.003239 - 0.0001395 * math.log(n)


def porian_learning_rate(n: float, d: float) -> float:
    """3.7 N^-0.36 (Porian, arXiv 2406.19146), along D of about 20 N.

    >>> round(porian_learning_rate(1.08e8, 2.2e9), 4)
    0.0047
    """
    return 3.7 * n**-0.36


def porian_batch_tokens(n: float, d: float) -> float:
    """0.7576 N^0.703 [tokens] (Porian, arXiv 2406.19146).

    >>> round(porian_batch_tokens(1.08e8, 2.2e9) / 2048)  # sequences
    164
    """
    return 0.7576 * n**0.703


def zhou_learning_rate(n: float, d: float) -> float:
    """38.4588 N^-0.2219 D^-0.3509 (Zhou, arXiv 2601.05049 equation 6), N and D taken as counts.

    >>> float(f"{zhou_learning_rate(1e9, 1e11):.2g}")
    5.3e-05
    """
    return 38.4588 * n**-0.2219 * d**-0.3509


SATURATION = Saturation(
    log_rate=-6.10, rate_by_params=-0.63, rate_by_tokens=0.30, batch_tokens=2.14e5, batch_by_tokens=0.76
)
"""Fitted by this project to the best learning rates of 274 (N, D, B) slices of ScaleBench (AdamW)."""


def saturating_rate_at(n: float, d: float, batch_tokens: float) -> float:
    """``theory.saturation`` with ``SATURATION``: lr_max / (1 + B_c/B).

    >>> float(f"{saturating_rate_at(5e8, 2e10, 2.14e5):.3g}")  # half of exp(-6.10)
    0.00112
    """
    return float(saturating_learning_rate(n, d, batch_tokens, SATURATION))


def saturating_rate(n: float, d: float) -> float:
    """The same at Step Law's batch.

    >>> float(f"{saturating_rate(1e9, 1e11):.3g}")
    0.00142
    """
    return saturating_rate_at(n, d, step_batch_tokens(n, d))


LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        Law(
            name="step",
            optimizer="adamw",
            formula="lr = 1.79 N^-0.713 D^0.307; B = 0.58 D^0.571",
            units="N without vocabulary [count], D [tokens], B [tokens]",
            source="Li et al. 2025, Predictable Scale: Part I (Step Law), arXiv 2503.04715",
            learning_rate=step_learning_rate,
            batch_tokens=step_batch_tokens,
            params_range=(5.9e7, 1.074e9),
            tokens_range=(2e9, 1e11),
            note="Cosine to a fixed final learning rate of 1e-5, 2,000 warm-up steps.",
        ),
        Law(
            name="deepseek",
            optimizer="adamw",
            formula="lr = 0.3118 C^-0.1250; B = 0.2920 C^0.3271",
            units="C training FLOPs, here 6 N D; B [tokens]",
            source="DeepSeek-AI 2024, DeepSeek LLM, arXiv 2401.02954, section 3 equation 1",
            learning_rate=deepseek_learning_rate,
            batch_tokens=deepseek_batch_tokens,
            flops_range=(1e17, 2e19),
            note="C counts attention too in the paper, so 6 N D is slightly low. Multi-step schedule.",
        ),
        Law(
            name="bjorck",
            optimizer="adamw",
            formula="lr = 1.5e-3 N^-0.23 D^-0.32",
            units="N and D in billions; batch fixed at 0.5M tokens",
            source="Bjorck et al. 2024, Scaling optimal LR across token horizons, arXiv 2409.19913",
            learning_rate=bjorck_learning_rate,
            fixed_batch_tokens=5e5,
            params_range=(7.6e8, 2.7e9),
            note="No batch law. The joint law was fitted from 760M up; horizons reached 800B tokens.",
        ),
        Law(
            name="kaplan",
            optimizer="adam",
            formula="lr = 0.003239 - 0.0001395 ln N; B_crit = 2e8 L^-4.76",
            units="N non-embedding [count], B_crit [tokens], L [nats/token]",
            source="Kaplan et al. 2020, arXiv 2001.08361, appendix D.6 and section 5",
            learning_rate=kaplan_learning_rate,
            critical_batch_tokens=batches.kaplan_critical_batch,
            params_range=(1.0, 1.5e9),
            note="Critical batch 2e8 L^-4.76 at the loss of Chinchilla's law (arXiv 2404.10102), not at "
            "WebText's. "
            "Not positive above 1.2e10. Constants second hand.",
        ),
        Law(
            name="porian",
            optimizer="adamw",
            formula="lr = 3.7 N^-0.36; B = 0.7576 N^0.703",
            units="N [count], B [tokens]",
            source="Porian et al. 2024, Resolving discrepancies, arXiv 2406.19146",
            learning_rate=porian_learning_rate,
            batch_tokens=porian_batch_tokens,
            params_range=(2.5e7, 1.1e8),
            note="Fitted along D of about 20 N, constant learning rate; D does not enter.",
        ),
        Law(
            name="zhou",
            optimizer="adamw",
            formula="lr = 38.4588 N^-0.2219 D^-0.3509",
            units="N and D taken as counts",
            source="Zhou et al. 2026, arXiv 2601.05049, equation 6",
            learning_rate=zhou_learning_rate,
            params_range=(1.0, 1.2e10),
            tokens_range=(1.0, 5e11),
            note="Mixtures of experts up to 12B parameters, WSD. Units are assumed: the paper's were not "
            "seen. "
            "Constants second hand.",
        ),
        Law(
            name="minicpm",
            optimizer="adamw",
            formula="B = 1.21e9 L^-6.24",
            units="L loss on C4 [nats/token], B [tokens]",
            source="Hu et al. 2024, MiniCPM, arXiv 2404.06395",
            batch_tokens=batches.minicpm_batch,
            note="L is that of Chinchilla's law (arXiv 2404.10102), on another corpus. Its learning rate "
            "is 0.01 at "
            "any size under its own muP. Constants second hand.",
        ),
        Law(
            name="power-lines",
            optimizer="adamw",
            formula="B = 0.0306 D^0.383; B_crit = 0.0471 D^0.462; weight decay = B / (lr D tau), "
            "tau = 1.084 (D/N)^-0.527",
            units="D [tokens], B and B_crit in sequences of 2,048, tau a share of the run",
            source="Bergsma et al. 2025, Power Lines, arXiv 2505.13738",
            batch_tokens=batches.power_lines_batch,
            critical_batch_tokens=batches.power_lines_critical_batch,
            weight_decay=batches.power_lines_weight_decay,
            params_range=(1.11e8, 3.3e9),
            note="Fitted under muP at 20 to 1280 tokens per parameter. It has no learning rate: weight "
            "decay is at "
            "Step Law's. Exponents second hand, the three constants from memory.",
        ),
        Law(
            name="zhang",
            optimizer="adam",
            formula="B_crit = 22.91 D^0.47",
            units="D in millions of tokens, B_crit in sequences of 512",
            source="Zhang et al. 2024, How does critical batch size scale, arXiv 2410.21676",
            critical_batch_tokens=batches.zhang_critical_batch,
            params_range=(8.5e7, 1.2e9),
            note="Batch at which a loss takes 20% more tokens; constant learning rate with averaged weights. "
            "Constants second hand.",
        ),
        Law(
            name="merrill",
            optimizer="adamw",
            formula="B_crit = 4096 * 4096 after about 50,000 steps",
            units="B_crit [tokens]",
            source="Merrill et al. 2025, Critical batch size revisited, arXiv 2505.23971",
            critical_batch_tokens=batches.merrill_critical_batch,
            params_range=(1e9, 7e9),
            note="Of OLMo 1B and 7B; near 0 at the start, so a batch warm-up pays. Constants second hand.",
        ),
        Law(
            name="saturating",
            optimizer="adamw",
            formula="lr = exp(-6.10) (N/5e8)^-0.63 (D/2e10)^0.30 / (1 + B_c/B); B_c = 2.14e5 (D/2e10)^0.76",
            units="N non-embedding [count], D and B [tokens]",
            source="Form: McCandlish et al. 2018, arXiv 1812.06162; constants: this project, on ScaleBench "
            "(arXiv 2604.22753)",
            learning_rate=saturating_rate,
            learning_rate_at=saturating_rate_at,
            batch_tokens=step_batch_tokens,
            params_range=(6e7, 1.07e9),
            tokens_range=(2e9, 1e11),
            published=False,
            note="Not published: best learning rate at a given batch, with Step Law's batch where none is "
            "given.",
        ),
        Law(
            name="constant",
            optimizer="adamw",
            formula="lr = 2e-3; B = 5e5",
            units="B [tokens]",
            source="A tuned constant: on the 17 public Step Law cells it beats every imported law",
            learning_rate=lambda n, d: 2e-3,
            batch_tokens=lambda n, d: 5e5,
            published=False,
            note="Chosen with the Step Law cells in view; not a law.",
        ),
    )
}


# ------------------------------------------------------------------------ parameters of ours in these laws

THEORY = {  # arXiv 2205.10287 for adaptive methods; arXiv 1706.02677 for SGD
    "rho": {"square-root rule (Malladi et al. 2022)": 0.5, "linear rule (Goyal et al. 2017)": 1.0}
}
"""Parameter -> what theory says it is."""


def published(name: str, pivot: tuple[float, float]) -> dict[str, float]:
    """Values of a parameter in the published laws, law -> value; logarithmic derivatives at the pivot.

    Only of laws that speak of the same thing. Exponents of the learning rate need N in the law, and a batch
    that is not fixed: ours follow the best batch. Except along constant D/N, all need D in it: a law in N
    alone was fitted along one path. What is not published does not count.

    >>> published("epsilon", (3e8, 1e10))  # 0.58 D^0.571; 0.2920 (6 N D)^0.3271
    {'step': 0.571, 'deepseek': 0.327, 'minicpm': 0.371, 'power-lines': 0.383}
    """
    found = {key: _in_law(law, name, pivot) for key, law in LAWS.items() if law.published}
    return {key: round(value, 3) for key, value in found.items() if value is not None}


def _in_law(law: Law, name: str, pivot: tuple[float, float]) -> float | None:
    advice = law.recommend(*pivot)
    if name == "beta":
        return float(np.log(advice["batch_tokens"])) if law.batch_tokens else None
    if name in ("epsilon", "epsilon_n"):
        n, d = slopes(law, "batch_tokens", pivot)
        return None if not d else d if name == "epsilon" else n
    if law.fixed_batch_tokens or not law.learning_rate:
        return None
    if name == "alpha":
        return float(np.log(advice["learning_rate"]))
    if name in ("gamma", "delta", "gamma_path"):
        n, d = slopes(law, "learning_rate", pivot)
        unknown = not n or (name != "gamma_path" and not d)
        return None if unknown else {"gamma": -n, "delta": -d, "gamma_path": -n - d}[name]
    return None


def slopes(law: Law, name: str, pivot: tuple[float, float]) -> tuple[float, float]:
    """Derivatives of ln advice in ln N and ln D, centrally; 0 where the law has no such advice."""
    n, d = pivot
    step = 1e-3

    def log_advice(by_n: float, by_d: float) -> float:
        return float(np.log(law.recommend(n * np.exp(by_n), d * np.exp(by_d)).get(name, 1.0)))

    in_n = (log_advice(step, 0.0) - log_advice(-step, 0.0)) / (2 * step)
    in_d = (log_advice(0.0, step) - log_advice(0.0, -step)) / (2 * step)
    return round(in_n, 6), round(in_d, 6)
