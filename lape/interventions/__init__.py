"""What is done to a running model: neurons deactivated or steered, units overwritten, parameters set to zero."""
