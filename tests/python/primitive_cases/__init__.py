"""The case table of the tests of primitives: for every primitive of src/ir/ops.def its inputs, how
the graph is asked for it, and what PyTorch calls it.
"""

from .along_dimensions import ALONG_DIMENSIONS
from .contractions import CONTRACTIONS
from .elementwise import ELEMENTWISE
from .indexing import INDEXING
from .leaves import LEAVES
from .views import VIEWS

# Printed name of the primitive -> a function that takes it and yields its cases.
TABLE = LEAVES | ELEMENTWISE | VIEWS | ALONG_DIMENSIONS | CONTRACTIONS | INDEXING
