"""The validation study: does advice from small runs save search cost? Tasks x methods x seeds, one table.

worlds (what answers a run) > pretraining and finetuning (worlds of a table) > sources (tables); worlds >
searches (ask, tell) > advice (history -> settings) > designs (which small runs) > methods (the table of who
does what) > trials (rows, resumable); scores and comparison (of rows) > report and figures.
"""
