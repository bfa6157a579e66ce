"""Curvature and gradient noise of a network at any step of its training, matrix-free, with their cost.

``for_torch`` and ``for_jax`` hold the same two functions, ``landscape`` and ``next_step``, and import their
frameworks; everything here takes what they return and imports neither.
"""

from bayeslaw.spectra.density import SpectralDensity as SpectralDensity
from bayeslaw.spectra.density import density_at as density_at
from bayeslaw.spectra.density import spectral_density as spectral_density
from bayeslaw.spectra.lanczos import Eigenvalue as Eigenvalue
from bayeslaw.spectra.lanczos import largest_eigenvalue as largest_eigenvalue
from bayeslaw.spectra.landscape import Cost as Cost
from bayeslaw.spectra.landscape import Landscape as Landscape
from bayeslaw.spectra.landscape import NextStep as NextStep
from bayeslaw.spectra.measurement import Curvature as Curvature
from bayeslaw.spectra.measurement import measure as measure
from bayeslaw.spectra.measurement import measure_first_order as measure_first_order
from bayeslaw.spectra.noise import NoiseScale as NoiseScale
from bayeslaw.spectra.noise import noise_scale as noise_scale
from bayeslaw.spectra.noise import pooled as pooled
from bayeslaw.spectra.rates import CriticalLearningRate as CriticalLearningRate
from bayeslaw.spectra.rates import DirectionalSharpness as DirectionalSharpness
from bayeslaw.spectra.rates import critical_learning_rate as critical_learning_rate
from bayeslaw.spectra.rates import directional_sharpness as directional_sharpness
from bayeslaw.spectra.trace import Trace as Trace
from bayeslaw.spectra.trace import hutch_plus_plus as hutch_plus_plus
from bayeslaw.spectra.trace import hutchinson as hutchinson
