"""Tables and figures of expert units, and of their comparison with LAPE."""
