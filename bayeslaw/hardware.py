"""What a run costs on a named device: hours, energy and money from its floating point operations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.text import short

UTILISATION = 0.4
"""Share of the peak that training reaches where nothing was measured: 0.38 to 0.43 for Llama 3 on H100
(arXiv 2407.21783, table 4), 0.46 for PaLM (arXiv 2204.02311, section 4.1)."""

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Device:
    """An accelerator.

    Attributes:
        peak: dense bfloat16 operations per second [FLOP/s] (V100: float16).
        watts: maximum power of the board [W].
        source: of both.
    """

    peak: float
    watts: float
    source: str


DEVICES = {
    "v100": Device(125e12, 300, "NVIDIA V100 data sheet, SXM2"),
    "a100": Device(312e12, 400, "NVIDIA A100 data sheet, SXM4 80 GB"),
    "l40s": Device(362e12, 350, "NVIDIA L40S data sheet"),
    "rtx4090": Device(165e12, 450, "NVIDIA Ada architecture white paper, float32 accumulation"),
    "h100": Device(989e12, 700, "NVIDIA H100 data sheet, SXM5"),
    "h200": Device(989e12, 700, "NVIDIA H200 data sheet, SXM5"),
    "b200": Device(2250e12, 1000, "NVIDIA HGX B200 data sheet"),
    "mi300x": Device(1307e12, 750, "AMD Instinct MI300X data sheet"),
}
"""Peaks without sparsity."""


def training_flops(params_nonembedding: float, tokens: float) -> float:
    """Floating point operations of a run: 6 N D (arXiv 2001.08361, section 2.1), without attention scores.

    >>> training_flops(7e9, 1.4e11)
    5.88e+21
    """
    return 6.0 * params_nonembedding * tokens


def check_request(device: str | None, throughput: float | None, price: float | None) -> None:
    """Refuse a request for a cost that nothing could be computed from.

    Raises:
        BadInput: an unknown device, a throughput above its peak, a price below 0 or without hours.
    """
    if device is not None and device not in DEVICES:
        raise BadInput(
            f"--device {device}: unknown; expected one of {', '.join(DEVICES)}; "
            "or give --throughput, the FLOP/s that one of yours reaches"
        )
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise BadInput(f"--price-per-hour {price}: expected a price of at least 0; give 2.5 for 2.50 an hour")
    if price is not None and device is None and throughput is None:
        raise BadInput("--price-per-hour: of which device? expected --device h100 or --throughput; add one")
    if device is not None and throughput is not None and throughput > DEVICES[device].peak:
        raise BadInput(
            f"--throughput {throughput:g}: above the peak of {device}, {short(DEVICES[device].peak)} FLOP/s; "
            "expected what one device reaches; divide by their number"
        )


def cost(
    flops: float, device: str | None = None, throughput: float | None = None, price: float | None = None
) -> dict[str, Any]:
    """Hours of one device, energy and money for a number of operations.

    Args:
        flops: floating point operations [FLOP].
        device: name in ``DEVICES``; None where only ``throughput`` is known, and then no energy.
        throughput: measured, of one device [FLOP/s]; by default ``UTILISATION`` of the peak.
        price: of one device per hour, in any currency.

    Returns:
        ``flops``, and where they are known ``device``, ``flops_per_second``, ``measured`` (whether by
        the user), ``device_hours``, ``energy_kwh`` (at maximum power, without cooling), ``price``.

    Raises:
        BadInput: as `check_request`.

    >>> cost(9.89e14 * 0.4 * 3600, "h100", price=2.5)["device_hours"]
    1.0
    """
    check_request(device, throughput, price)
    known: dict[str, Any] = {"flops": flops}
    if device is None and throughput is None:
        return known
    board = DEVICES[device] if device else None
    rate = throughput or UTILISATION * (board.peak if board else math.nan)
    hours = flops / rate / SECONDS_PER_HOUR
    known |= {"device": device, "flops_per_second": rate, "measured": throughput is not None}
    known |= {"device_hours": hours}
    if board:
        known["energy_kwh"] = hours * board.watts / 1000
    return known | ({"price": hours * price} if price is not None else {})


def cost_words(found: dict[str, Any]) -> str:
    """A cost in one line.

    >>> cost_words({"flops": 5.88e21})
    '5.88e+21 FLOP'
    """
    words = [f"{found['flops']:.3g} FLOP"]
    if "device_hours" in found:
        name = found["device"] or "device"
        how = "measured" if found["measured"] else f"{UTILISATION:.0%} of its peak"
        words.append(
            f"{short(found['device_hours'])} {name} hours at {found['flops_per_second']:.3g} FLOP/s ({how})"
        )
    if "energy_kwh" in found:
        words.append(f"at most {short(found['energy_kwh'])} kWh")
    if "price" in found:
        words.append(f"a price of {short(found['price'])}")
    return ", ".join(words)
