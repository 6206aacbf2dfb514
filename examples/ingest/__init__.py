"""Index a folder of text, durably: Loom's example of a real job."""
