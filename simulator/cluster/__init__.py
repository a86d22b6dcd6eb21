"""Inventory, allocation and health of the machines."""

from __future__ import annotations
