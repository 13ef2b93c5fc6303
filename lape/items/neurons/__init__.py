"""Tables and figures of the selected neurons: how many, where, shared by which languages, how sure."""
