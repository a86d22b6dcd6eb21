"""Sourced tables: GPUs, nodes, models, grids, plants, prices, each value with source, date and basis."""
