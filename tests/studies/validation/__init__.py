"""The validation study: does advice from small runs save search cost? Tasks x methods x seeds, one table.

worlds (what answers a run) > searches (ask, tell) > advice (history -> settings) > methods (the table of who
does what) > trials (rows, resumable) > scores (of rows), comparison (paired tests) > report, figures.
"""
