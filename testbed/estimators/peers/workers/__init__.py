"""Run by an interpreter that has a peer's library, and by no other: nothing here imports the testbed, nothing is pickled."""
