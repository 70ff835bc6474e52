"""Use cases: they decide with the domain's rules and act through the ports."""
