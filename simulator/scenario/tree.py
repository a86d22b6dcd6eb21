"""The scenario: one validated tree of everything that a run is made from."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, PrivateAttr

from simulator.catalog.shelf import Catalog
from simulator.foundation.calendar import Calendar
from simulator.scenario.books import Books
from simulator.scenario.branch import Branch
from simulator.scenario.failures import Failures
from simulator.scenario.fields import Block, HorizonSpan, OneOf, Whole, Words
from simulator.scenario.limits import Limit
from simulator.scenario.resolved import resolved_form, scenario_hash
from simulator.scenario.scheduling import Queue, Scheduling
from simulator.scenario.script import ScriptEvent
from simulator.scenario.sites import Site, SiteLink
from simulator.scenario.start import Start, StartMoment
from simulator.scenario.workloads import Workload

#: The Monday-first leap year that most hourly data of the catalog is close to.
DEFAULT_START: Final = "2024-01-01 00:00 UTC"


class Scenario(Branch):
    """One run: where, for how long, what work, under which rules."""

    title: Words = Field(description="One line that names the run.")
    question: Words | None = Field(default=None, description="What the run is to answer.")
    start: StartMoment = Field(
        default=Start(DEFAULT_START), description="First moment: date, time and IANA zone."
    )
    duration_s: HorizonSpan = Field(
        default=None, description="How long; `until done` runs to the last completion."
    )
    seed: Whole = Field(default=1, description="Of every random stream.")
    currency: Annotated[Literal["USD", "EUR", "GBP", "PLN"], OneOf()] = Field(
        default="USD", description="In which money is shown."
    )
    catalog_block: Block = Field(
        default={}, alias="catalog", description="Catalog entries added or replaced, by kind."
    )
    sites: tuple[Site, ...] = Field(description="Campuses, each behind one meter.")
    links_between_sites: tuple[SiteLink, ...] = Field(default=(), description="Lines between sites.")
    scheduling: Scheduling = Field(default=Scheduling(), description="How jobs get GPUs.")
    failures: Failures = Field(default=Failures(), description="What breaks, and how often.")
    workloads: tuple[Workload, ...] = Field(description="The work.")
    script: tuple[ScriptEvent, ...] = Field(
        default=(), description="What happens when, whatever the dice say."
    )
    books: Books = Field(default=Books(), description="Rules of the accounts.")
    limits: tuple[Limit, ...] = Field(default=(), description="Bounds that the report checks.")

    _shelf: Catalog | None = PrivateAttr(None)
    _folders: tuple[str, ...] = PrivateAttr(())
    _given: frozenset[str] = PrivateAttr(frozenset())
    _label: str = PrivateAttr("scenario")

    def remembering(
        self, catalog: Catalog, folders: tuple[str, ...], given: frozenset[str], label: str
    ) -> Self:
        """Return the scenario, knowing what it was read with.

        Parameters
        ----------
        catalog
            The shipped entries, those of `folders`, and the scenario's own.
        folders
            Catalog folders named at loading.
        given
            Dotted attributes that somebody wrote down; the rest are defaults.
        label
            Short name, for folders.
        """
        self._shelf, self._folders, self._given, self._label = catalog, folders, given, label
        return self

    @property
    def catalog(self) -> Catalog:
        """The shipped catalog, the folders named at loading, and the scenario's own block."""
        if self._shelf is None:
            catalog = Catalog.shipped()
            for folder in self._folders:
                catalog = catalog.with_directory(folder)
            self._shelf = catalog.with_block(self.catalog_block)
        return self._shelf

    def __getstate__(self) -> dict[Any, Any]:
        """Leave the open catalog behind: another process reads its own."""
        state = super().__getstate__()
        return {**state, "__pydantic_private__": {**(state["__pydantic_private__"] or {}), "_shelf": None}}

    @property
    def catalog_folders(self) -> tuple[str, ...]:
        """Catalog folders named at loading."""
        return self._folders

    @property
    def given(self) -> frozenset[str]:
        """Dotted attributes that somebody wrote down; the rest are defaults."""
        return self._given

    @property
    def label(self) -> str:
        """Short name: the file's without its ending."""
        return self._label

    @property
    def hash(self) -> str:
        """32 hexadecimal digits that change when any value does; see `resolved.scenario_hash`."""
        return scenario_hash(self)

    def resolved(self) -> dict[str, Any]:
        """Return every value by attribute name, in base units, as JSON holds it."""
        return resolved_form(self)

    @property
    def start_utc(self) -> datetime:
        """First moment of the run, in UTC."""
        return self.start.utc

    @property
    def timezone(self) -> str:
        """IANA zone that the scenario's moments are written in."""
        return self.start.timezone

    @property
    def calendar(self) -> Calendar:
        """Turns moments into seconds since the start, and back."""
        return self.start.calendar

    @property
    def queues(self) -> tuple[Queue, ...]:
        """The queues, with what they leave out taken from `scheduling`.

        Pools are written SITE.POOL. Without queues in the file there is one for each site, with
        the site's name, over all its pools; a single site's is called ``default``.
        """
        rules = self.scheduling
        if rules.queues:
            return tuple(
                queue.model_copy(
                    update={
                        "pools": tuple(self.pool_address(pool) for pool in queue.pools),
                        "policy": queue.policy or rules.policy,
                        "order": queue.order or rules.order,
                        "placement": queue.placement or rules.placement,
                        "admit": rules.admit if queue.admit is None else queue.admit,
                    }
                )
                for queue in rules.queues
            )
        return tuple(
            Queue.model_construct(
                name=site.name if len(self.sites) > 1 else "default",
                pools=tuple(f"{site.name}.{pool.name}" for pool in site.pools),
                policy=rules.policy,
                order=rules.order,
                placement=rules.placement,
                admit=rules.admit,
            )
            for site in self.sites
        )

    def site(self, name: str) -> Site:
        """Return the site of that name."""
        return next(site for site in self.sites if site.name == name)

    def pool_address(self, pool: str) -> str:
        """Return SITE.POOL for POOL or SITE.POOL."""
        if "." in pool:
            return pool
        return next(
            f"{site.name}.{own.name}" for site in self.sites for own in site.pools if own.name == pool
        )
