"""The loss as a function of the whole schedule: laws, fits to curves, and advice; the batch over a run.

================  ==========================================================================
``features``      what the laws need of the learning rates, computed once
``laws``          five laws in one interface, ``schedule_loss(law, params, learning_rates)``
``curves``        losses and learning rates from files
``fitting``       least squares, with uncertainty; NUTS is in ``inference.schedules``
``regression``    loss and divergence by a few numbers of the schedule
``advice``        decay share, shape and final rate with intervals and expected cost
``pooled``        the fit that stands in where no curve is given
``batches``       plans of a batch that grows; from a posterior in ``advice.batches``
================  ==========================================================================

The two numbers of a schedule's shape, and the shift of the best learning rate that follows from them, are in
``theory.schedule_bounds``.
"""
