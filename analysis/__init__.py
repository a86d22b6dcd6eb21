"""Reads finished runs: figures, the report, comparisons. Knows results, never the engine."""
