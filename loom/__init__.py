"""Loom: durable workflows in ordinary async Python."""
