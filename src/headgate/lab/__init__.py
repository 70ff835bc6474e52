"""The laboratory: simulated and real crowds, injected faults, and a judge who trusts nobody."""
