"""Pure rules: state, time and entropy come in, a decision goes out. No I/O, no clock, no randomness."""
