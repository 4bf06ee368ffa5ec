"""REST: requests become operations of the state machine, outcomes become responses. Knows no socket and no LMDB."""
