"""How fast Loom is, and how near to what its database can do.

``python -m benchmarks all`` runs everything; ``docs/benchmarks.md`` explains the figures.
"""
