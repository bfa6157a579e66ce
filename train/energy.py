"""Energy of a run: measured on an NVIDIA GPU, else estimated, and labelled so."""

from __future__ import annotations

import os
from collections.abc import Callable

WATTS_PER_CORE = 10.0
"""Assumed power of one busy core with its share of memory and supply; BAYESLAW_WATTS_PER_CORE overrides
it."""

GRAMS_PER_KWH = 400.0
"""Assumed carbon intensity of electricity; BAYESLAW_GRAMS_PER_KWH overrides it. World average of 2023:
480."""

JOULES_PER_KWH = 3.6e6


def meter(device: str) -> Callable[[float], tuple[float, str]]:
    """Start measuring; return a function from CPU seconds spent to (joules, how they were found).

    A GPU's counter includes everything that ran on it meanwhile. No sensor is read on a CPU: codecarbon's
    default is a guess for the whole machine, which is wrong for several workers at once.
    """
    if device.startswith("cuda"):
        try:
            return _nvml(int(device.partition(":")[2] or 0))
        except Exception:  # no library, no driver, or a GPU without a counter: estimate below
            pass
    watts = float(os.environ.get("BAYESLAW_WATTS_PER_CORE", WATTS_PER_CORE))
    return lambda cpu_seconds: (cpu_seconds * watts, f"estimated, {watts:g} W a busy core")


def co2e_grams(joules: float) -> float:
    """Grams of CO2 equivalent at the assumed intensity.

    >>> co2e_grams(3.6e6)
    400.0
    """
    return joules / JOULES_PER_KWH * float(os.environ.get("BAYESLAW_GRAMS_PER_KWH", GRAMS_PER_KWH))


def _nvml(index: int) -> Callable[[float], tuple[float, str]]:
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    began = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)  # millijoules since the driver was loaded

    def measured(_: float) -> tuple[float, str]:
        return (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - began) / 1e3, "measured by NVML"

    return measured
