"""Runs where trackers and trainers leave them: one module per place, each gives one flat row per run.

A row has ``run_id``, ``state`` where the place records it, settings as ``config.NAME``, last values of
metrics as ``metrics.NAME``, and ``last_step``. What a column means says `bayeslaw.runs.column_names`.
"""
