"""The training lab: networks, corpora, and the runs that make a run table. Needs ``bayeslaw[train]``.

In a checkout ``train``, ``models`` and ``data`` are links to the folders of those names at its top, so that
Python, type checkers and wheels find them here and no name but ``bayeslaw`` is global.
"""
