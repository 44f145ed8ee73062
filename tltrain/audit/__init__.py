"""Which calls failed, and why; later, the statistics of a data set."""

from tltrain.audit.failure_detectors import CallReading, read_calls
from tltrain.audit.feedback import feedback_failed
from tltrain.audit.schema import SchemaFault, schema_failed, schema_faults

__all__ = ["CallReading", "SchemaFault", "feedback_failed", "read_calls", "schema_failed", "schema_faults"]
