"""Published laws of the peak learning rate and the batch, in one interface.

Conventions everywhere: N non-embedding parameters [count], D training tokens [count], batch in tokens,
C = 6 N D training FLOPs, peak learning rate. Each law keeps its own units inside.

>>> for name, law in LAWS.items():
...     print(f"{name:8s} {law.recommend(1e9, 1e11)['learning_rate']:.2e}")
step     1.63e-03
deepseek 7.88e-04
bjorck   3.44e-04
kaplan   3.48e-04
porian   2.13e-03
constant 2.00e-03
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayeslaw.errors import BadInput

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
        learning_rate: peak learning rate of (N, D).
        batch_tokens: batch [tokens] of (N, D); None where the paper gives no such law.
        fixed_batch_tokens: batch at which the learning rate was fitted, if there was only one.
        params_range: range of N that it was fitted on, or None if the source does not state it.
        tokens_range: range of D that it was fitted on, or None.
        flops_range: range of C that it was fitted on, or None.
        note: caveat on its use.
    """

    name: str
    optimizer: str
    formula: str
    units: str
    source: str
    learning_rate: Callable[[float, float], float]
    batch_tokens: Callable[[float, float], float] | None = None
    fixed_batch_tokens: float | None = None
    params_range: Range | None = None
    tokens_range: Range | None = None
    flops_range: Range | None = None
    note: str = ""

    def recommend(
        self, params_nonembedding: float, tokens: float, batch_tokens: float | None = None
    ) -> dict[str, float]:
        """Peak learning rate and batch [tokens]; ``batch_tokens`` is absent where the law has none.

        No published law here conditions on the batch. A given ``batch_tokens`` is echoed, and the learning
        rate is that of the law's own batch (``warnings`` says so).

        Raises:
            BadInput: sizes that are not finite and positive, or a size where the formula breaks down.

        >>> {k: float(f"{v:.3g}") for k, v in LAWS["step"].recommend(1e9, 1e11).items()}
        {'learning_rate': 0.00163, 'batch_tokens': 1110000.0}
        """
        _check_size("params_nonembedding", params_nonembedding)
        _check_size("tokens", tokens)
        rate = self.learning_rate(params_nonembedding, tokens)
        if not rate > 0:
            raise BadInput(
                f"law {self.name}: learning rate {rate:.3g} at N = {params_nonembedding:g}; expected > 0, "
                f"but {self.formula} breaks down this far out; choose another law or a smaller N"
            )
        advice = {"learning_rate": float(rate)}
        if batch_tokens is not None:
            _check_size("batch_tokens", batch_tokens)
            advice["batch_tokens"] = float(batch_tokens)
        elif self.batch_tokens is not None:
            advice["batch_tokens"] = float(self.batch_tokens(params_nonembedding, tokens))
        return advice

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
        if batch_tokens is not None:
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
            formula="lr = 0.003239 - 0.0001395 ln N",
            units="N non-embedding [count]",
            source="Kaplan et al. 2020, arXiv 2001.08361, appendix D.6",
            learning_rate=kaplan_learning_rate,
            params_range=(1.0, 1.5e9),
            note="Its batch law, 2e8 L^-4.76 tokens, needs a loss: none is given. Not positive above 1.2e10.",
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
            name="constant",
            optimizer="adamw",
            formula="lr = 2e-3; B = 5e5",
            units="B [tokens]",
            source="A tuned constant: on the 17 public Step Law cells it beats every imported law",
            learning_rate=lambda n, d: 2e-3,
            batch_tokens=lambda n, d: 5e5,
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
    alone was fitted along one path. The tuned constant is no law.

    >>> published("epsilon", (3e8, 1e10))  # 0.58 D^0.571; 0.2920 (6 N D)^0.3271
    {'step': 0.571, 'deepseek': 0.327}
    """
    found = {key: _in_law(law, name, pivot) for key, law in LAWS.items() if key != "constant"}
    return {key: round(value, 3) for key, value in found.items() if value is not None}


def _in_law(law: Law, name: str, pivot: tuple[float, float]) -> float | None:
    advice = law.recommend(*pivot)
    if name == "beta":
        return float(np.log(advice["batch_tokens"])) if law.batch_tokens else None
    if name in ("epsilon", "epsilon_n"):
        n, d = _slopes(law, "batch_tokens", pivot)
        return None if not d else d if name == "epsilon" else n
    if law.fixed_batch_tokens:
        return None
    if name == "alpha":
        return float(np.log(advice["learning_rate"]))
    if name in ("gamma", "delta", "gamma_path"):
        n, d = _slopes(law, "learning_rate", pivot)
        unknown = not n or (name != "gamma_path" and not d)
        return None if unknown else {"gamma": -n, "delta": -d, "gamma_path": -n - d}[name]
    return None


def _slopes(law: Law, name: str, pivot: tuple[float, float]) -> tuple[float, float]:
    """Derivatives of ln advice in ln N and ln D, centrally; 0 where the law has no such advice."""
    n, d = pivot
    step = 1e-3

    def log_advice(by_n: float, by_d: float) -> float:
        return float(np.log(law.recommend(n * np.exp(by_n), d * np.exp(by_d)).get(name, 1.0)))

    in_n = (log_advice(step, 0.0) - log_advice(-step, 0.0)) / (2 * step)
    in_d = (log_advice(0.0, step) - log_advice(0.0, -step)) / (2 * step)
    return round(in_n, 6), round(in_d, 6)
