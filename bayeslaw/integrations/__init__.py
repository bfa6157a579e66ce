"""bayeslaw in other people's training code: advice at the start, a row of the run table at the end.

Nothing heavy is imported here. The modules ``for_`` a framework import it, and nothing of bayeslaw imports
them.
"""

from bayeslaw.integrations.advice import Advice as Advice
from bayeslaw.integrations.advice import AdviceWarning as AdviceWarning
from bayeslaw.integrations.advice import optimizer_settings as optimizer_settings
from bayeslaw.integrations.advice import recommended as recommended
from bayeslaw.integrations.columns import block_params as block_params
from bayeslaw.integrations.columns import parameter_counts as parameter_counts
from bayeslaw.integrations.columns import settings_of as settings_of
from bayeslaw.integrations.exports import export as export
from bayeslaw.integrations.recorder import RunRecorder as RunRecorder
from bayeslaw.integrations.schedules import advised_schedule as advised_schedule
from bayeslaw.integrations.schedules import lr_multiplier as lr_multiplier
from bayeslaw.integrations.schedules import lr_scheduler as lr_scheduler
from bayeslaw.integrations.schedules import optax_schedule as optax_schedule
from bayeslaw.integrations.schedules import training_arguments as training_arguments
from bayeslaw.integrations.trials import enqueue as enqueue
from bayeslaw.integrations.trials import first_trials as first_trials
from bayeslaw.integrations.trials import search_ranges as search_ranges
