"""An open-loop load generator for model servers: requests come when they are due, however slow the answers are."""

from e2e.load.generator import LoadGenerator, Spacing
from e2e.load.record import LoadRecord, LoadSummary
from e2e.load.running import RunningLoad, running_load

__all__ = ["LoadGenerator", "LoadRecord", "LoadSummary", "RunningLoad", "Spacing", "running_load"]
