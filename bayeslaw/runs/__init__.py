"""A valid table of runs, from any file."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.runs.importing import import_runs as import_runs
    from bayeslaw.runs.io import read_runs as read_runs
    from bayeslaw.runs.io import write_runs as write_runs

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "import_runs": "importing",
        "read_runs": "io",
        "write_runs": "io",
    },
)
