"""The clock: builds a world from a scenario, applies decisions, lets time pass."""
