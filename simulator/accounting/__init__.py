"""From a record to its books: energy, PUE, water, three carbons, money, goodput, audit."""

from __future__ import annotations

from simulator.accounting.account import account, settle
from simulator.accounting.audit import TOLERANCE, require_balance
from simulator.accounting.books import (
    ROW_COLUMNS,
    AuditEntry,
    BookRules,
    Books,
    SiteAccount,
    SiteBooks,
)
from simulator.accounting.ledger import Ledger, measure
from simulator.accounting.metering import Metered, read_meters
from simulator.accounting.reaccounting import refuse_if_read

__all__ = [
    "ROW_COLUMNS",
    "TOLERANCE",
    "AuditEntry",
    "BookRules",
    "Books",
    "Ledger",
    "Metered",
    "SiteAccount",
    "SiteBooks",
    "account",
    "measure",
    "read_meters",
    "refuse_if_read",
    "require_balance",
    "settle",
]
