"""Everything that both savers share."""

from ._reading import ReadPlans
from ._writing import WritePlans


class SaverCore(WritePlans, ReadPlans):
    """The plan of every operation on checkpoints."""
