"""Which calls failed, and why; the statistics of a data set."""

from tltrain.audit.failure_detectors import CallAssessment, assess_calls
from tltrain.audit.feedback import feedback_failed
from tltrain.audit.schema import SchemaFault, schema_failed, schema_faults

__all__ = ["CallAssessment", "SchemaFault", "assess_calls", "feedback_failed", "schema_failed", "schema_faults"]
