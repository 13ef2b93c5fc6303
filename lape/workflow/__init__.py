"""Python code of the workflow: inputs of rules, flags of commands, bookings of jobs, and files of targets."""
