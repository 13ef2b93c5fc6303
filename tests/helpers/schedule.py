"""In which order the workers of a test run take the tests: what takes longest first, so that they end together."""

import json

from units import DURATIONS, unit
from xdist.scheduler import LoadScopeScheduling

# Seconds of what is not in the table.
UNKNOWN = 5.0


class LongestFirst(LoadScopeScheduling):
    """Units of work by their duration, longest first; ties stand as they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _assign_work_unit(self, node) -> None:
        """Let the queue, which was filled in the order of collection, begin with the longest unit."""
        if not getattr(self, "_sorted", False):
            seconds = json.loads(DURATIONS.read_text(encoding="utf-8"))
            for scope in sorted(self.workqueue, key=lambda scope: -seconds.get(scope, UNKNOWN)):
                self.workqueue.move_to_end(scope)
            self._sorted = True
        super()._assign_work_unit(node)
