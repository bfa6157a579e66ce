"""The best batch counts sequences: what a table of another sequence length changes."""

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.prediction import predict
from bayeslaw.advice.target_surface import place
from bayeslaw.inference.approximation import approximate
from bayeslaw.law.observations import prepare
from bayeslaw.law.parameters import PARAMETERS
from bayeslaw.law.simulation import simulate
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.target import Target
from tests.support.sweeps import sweep
