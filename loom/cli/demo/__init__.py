"""``loom demo``: the ingest example, with its worker killed in the middle."""
