"""The catalog: entries by kind and name, read when first asked for.

Shipped files, folders given by the user and a scenario's ``catalog:`` block are layers; a later layer adds
entries, or changes the fields it writes of an entry that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from simulator.catalog.entries import (
    KINDS,
    REFERENCES,
    ChainSpec,
    ClimateSpec,
    CostSpec,
    EngineSpec,
    FactorSet,
    FailurePreset,
    GpuSpec,
    GridSpec,
    JobMixSpec,
    LengthsSpec,
    LinkSpec,
    ModelSpec,
    NodeSpec,
    PlantSpec,
    ShapeSpec,
    TariffSpec,
    WaterSet,
)
from simulator.catalog.provenance import SCENARIO, Provenance, Source
from simulator.catalog.reading import DEFAULT_KEYS, LIKE, Facts, Reader, Written, spec_fields
from simulator.foundation.documents import Node, node_of, read_path
from simulator.foundation.errors import CatalogError, Problem, ScenarioError
from simulator.foundation.names import hint

_FOLDER: Final = Path(__file__).parent
_SOURCES: Final = "sources"
_SOURCE_KEYS: Final[tuple[str, ...]] = ("title", "publisher", "date", "url")

Spec = TypeVar("Spec")


@dataclass(frozen=True)
class Layer:
    """Entries of one origin.

    Parameters
    ----------
    document
        Gives a kind's entries as written, or None.
    sources
        Gives the sources that this origin adds.
    """

    document: Callable[[str], Node | None]
    sources: Callable[[], Mapping[str, Source]] = dict

    def entries(self, kind: str) -> Mapping[str, Node]:
        """Return the entries of a kind by name."""
        node = self.document(kind)
        if node is None or node.kind == "null":
            return {}
        if node.kind != "map":
            problem = node.problem(f"expected NAME: ENTRY, got {node.described()}", f"catalog.{kind}")
            raise ScenarioError([problem])
        return node.entries


class Catalog:
    """Sourced entries by kind and name.

    Parameters
    ----------
    layers
        From the shipped files to what wins over them.

    Examples
    --------
    >>> catalog = Catalog.shipped()
    >>> catalog.gpu("h100-sxm").tdp_w
    700.0
    >>> own = catalog.with_block({"gpus": {"h100-big": {"like": "h100-sxm", "memory": "120 GB"}}})
    >>> own.gpu("h100-big").memory_bytes
    120000000000.0
    """

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self._layers = layers
        self._entries: dict[tuple[str, str], tuple[Any, Mapping[str, Provenance]]] = {}
        self._sources: dict[str, Source] | None = None

    @staticmethod
    def shipped() -> Catalog:
        """Return the entries that travel with datahall."""
        return _shipped()

    def with_directory(self, folder: str | Path) -> Catalog:
        """Return the catalog with a folder's files (``gpus.yaml`` ..., ``sources.yaml``) laid over it.

        Raises
        ------
        ScenarioError
            With every mistake in those files.
        """
        path = Path(folder)
        if not path.is_dir():
            raise CatalogError(f"no such catalog folder: '{folder}'")
        known = (*KINDS, _SOURCES)
        problems = [
            Problem("no kind of catalog entries", str(file), hint=hint(file.stem, known))
            for file in sorted(path.glob("*.y*ml"))
            if file.stem not in known or file.suffix != ".yaml"
        ]
        if problems:
            raise ScenarioError(problems)
        files = {kind: path / f"{kind}.yaml" for kind in KINDS}
        documents = {kind: read_path(file) for kind, file in files.items() if file.is_file()}
        own = path / f"{_SOURCES}.yaml"
        sources = sources_in(read_path(own)) if own.is_file() else {}
        return self._with(Layer(documents.get, lambda: sources))

    def with_block(self, block: Mapping[str, Any] | Node) -> Catalog:
        """Return the catalog with a scenario's ``catalog:`` block laid over it.

        Parameters
        ----------
        block
            ``{kind: {name: {field: value}}}`` as texts, or the block's node, whose lines the
            messages then give.

        Raises
        ------
        ScenarioError
            With every mistake in the block.
        """
        node = block if isinstance(block, Node) else node_of(block)
        if node.kind == "null" or not (node.entries or node.items or node.text):
            return self
        if node.kind != "map":
            raise ScenarioError(
                [node.problem(f"expected KIND: ENTRIES, got {node.described()}", "catalog", hint("", KINDS))]
            )
        problems = [
            node.key_problem(kind, f"unknown name '{kind}'", f"catalog.{kind}", hint(kind, KINDS))
            for kind in node.entries
            if kind not in KINDS
        ]
        if problems:
            raise ScenarioError(problems)
        return self._with(Layer(node.entries.get))

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of entries."""
        return tuple(KINDS)

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of a kind's entries in the order of the files."""
        self._check_kind(kind)
        return tuple(dict.fromkeys(name for layer in self._layers for name in layer.entries(kind)))

    def get(self, kind: str, name: str) -> Any:
        """Return an entry.

        Raises
        ------
        CatalogError
            There is none; the message gives the nearest name and the known ones.
        """
        return self._read(kind, name)[0]

    def need(self, entry: Any, field: str) -> Any:
        """Return a field that must not be blank.

        Parameters
        ----------
        entry
            An entry of this catalog.
        field
            Its attribute, e.g. ``idle_w``.

        Raises
        ------
        CatalogError
            The field is blank; the message says what to write and where.
        """
        value = getattr(entry, field)
        if value is not None:
            return value
        kind = next(kind for kind, cls in KINDS.items() if type(entry) is cls)
        info = next(info for info in spec_fields(type(entry)) if info.name == field)
        raise CatalogError(
            f"catalog.{kind}.{entry.name}.{info.key} is blank: no source at hand gives it "
            f"({info.meaning.rstrip('.')})\n"
            f"    set it in the scenario: catalog: {{{kind}: {{{entry.name}: {{{info.key}: ...}}}}}}"
        )

    def provenance(self, kind: str, name: str, field: str) -> Provenance:
        """Return where a value comes from.

        Parameters
        ----------
        kind, name
            The entry.
        field
            Its attribute; parts joined by dots, e.g. ``mix.coal`` or ``causes.software.repair_s``.

        Raises
        ------
        CatalogError
            The entry holds no such value.
        """
        found = self._read(kind, name)[1]
        if field not in found:
            raise CatalogError(f"catalog.{kind}.{name} holds no value '{field}'\n    {hint(field, found)}")
        return found[field]

    def values(self, kind: str, name: str) -> tuple[Provenance, ...]:
        """Return every value of an entry with its provenance, in the order of the fields."""
        return tuple(self._read(kind, name)[1].values())

    def sources(self) -> Mapping[str, Source]:
        """Return the sources by key."""
        if self._sources is None:
            found: dict[str, Source] = {}
            for layer in self._layers:
                found |= layer.sources()
            self._sources = found
        return self._sources

    def gpu(self, name: str) -> GpuSpec:
        """Return a GPU."""
        return self._typed("gpus", name, GpuSpec)

    def node(self, name: str) -> NodeSpec:
        """Return a node."""
        return self._typed("nodes", name, NodeSpec)

    def link(self, name: str) -> LinkSpec:
        """Return a network port."""
        return self._typed("links", name, LinkSpec)

    def model(self, name: str) -> ModelSpec:
        """Return a model, also by one of its other names."""
        if name not in self.names("models"):
            for own in self.names("models"):
                spec = self._typed("models", own, ModelSpec)
                if name in spec.aliases:
                    return spec
        return self._typed("models", name, ModelSpec)

    def engine(self, name: str) -> EngineSpec:
        """Return a serving engine."""
        return self._typed("engines", name, EngineSpec)

    def grid(self, name: str) -> GridSpec:
        """Return a grid."""
        return self._typed("grids", name, GridSpec)

    def factors(self, name: str) -> FactorSet:
        """Return a set of emission factors."""
        return self._typed("factors", name, FactorSet)

    def water(self, name: str) -> WaterSet:
        """Return a set of source-water factors."""
        return self._typed("water", name, WaterSet)

    def climate(self, name: str) -> ClimateSpec:
        """Return a climate."""
        return self._typed("climates", name, ClimateSpec)

    def plant(self, name: str) -> PlantSpec:
        """Return a cooling plant."""
        return self._typed("plants", name, PlantSpec)

    def chain(self, name: str) -> ChainSpec:
        """Return a power chain."""
        return self._typed("chains", name, ChainSpec)

    def failure_preset(self, name: str) -> FailurePreset:
        """Return a fleet's published failures."""
        return self._typed("failures", name, FailurePreset)

    def tariff(self, name: str) -> TariffSpec:
        """Return a tariff."""
        return self._typed("tariffs", name, TariffSpec)

    def cost(self, name: str) -> CostSpec:
        """Return a cost pack."""
        return self._typed("costs", name, CostSpec)

    def lengths(self, name: str) -> LengthsSpec:
        """Return prompt and answer lengths."""
        return self._typed("lengths", name, LengthsSpec)

    def mix(self, name: str) -> JobMixSpec:
        """Return a job mix."""
        return self._typed("mixes", name, JobMixSpec)

    def shape(self, name: str) -> ShapeSpec:
        """Return a weekly rhythm."""
        return self._typed("shapes", name, ShapeSpec)

    def _typed(self, kind: str, name: str, cls: type[Spec]) -> Spec:
        entry = self.get(kind, name)
        if not isinstance(entry, cls):
            raise TypeError(f"{kind} hold {cls.__name__}, not {type(entry).__name__}")
        return entry

    def _with(self, layer: Layer) -> Catalog:
        """Return a catalog with one more layer, whose every entry has been read once."""
        catalog = Catalog((*self._layers, layer))
        problems: list[Problem] = []
        for kind in KINDS:
            try:
                names: Iterable[str] = layer.entries(kind)
            except ScenarioError as error:
                problems += error.problems
                continue
            for name in names:
                try:
                    catalog.get(kind, name)
                except ScenarioError as error:
                    problems += error.problems
        if problems:
            raise ScenarioError(problems)
        return catalog

    def _check_kind(self, kind: str) -> None:
        if kind not in KINDS:
            raise CatalogError(f"unknown kind of catalog entries '{kind}'\n    {hint(kind, KINDS)}")

    def _read(self, kind: str, name: str) -> tuple[Any, Mapping[str, Provenance]]:
        if (kind, name) not in self._entries:
            if name not in self.names(kind):
                raise CatalogError(
                    f"no '{name}' among the catalog's {kind}\n    {hint(name, self.names(kind))}"
                )
            reader = Reader(kind, name, self.sources())
            written, where = self._written(reader, name, ())
            entry = reader.entry(written, where)
            self._check_references(reader, written)
            if reader.problems:
                raise ScenarioError(reader.problems)
            self._entries[kind, name] = (entry, reader.provenance)
        return self._entries[kind, name]

    def _written(self, reader: Reader, name: str, via: tuple[str, ...]) -> tuple[dict[str, Written], Node]:
        """Return an entry's fields from all layers, and the node that spoke last."""
        kind = reader.kind
        written: dict[str, Written] = {}
        where = Node("null")
        for layer in self._layers:
            node = layer.entries(kind).get(name)
            if node is None:
                continue
            where = node
            key = f"catalog.{kind}.{name}"
            if node.kind != "map":
                raise ScenarioError([node.problem(f"expected FIELD: VALUE, got {node.described()}", key)])
            like = node.entries.get(LIKE)
            if like is not None:
                written = self._like(reader, name, like, via)
            facts = reader.facts(node.entries, Facts(), key)
            for field, value in node.entries.items():
                if field not in (*DEFAULT_KEYS, LIKE):
                    written[field] = Written(value, facts)
        return written, where

    def _like(self, reader: Reader, name: str, like: Node, via: tuple[str, ...]) -> dict[str, Written]:
        key = f"catalog.{reader.kind}.{name}.{LIKE}"
        others = [other for other in self.names(reader.kind) if other != name]
        if like.text not in others:
            raise ScenarioError([like.problem(f"no '{like.text}' to be like", key, hint(like.text, others))])
        if like.text in via:
            raise ScenarioError([like.problem(f"'{name}' and '{like.text}' are each like the other", key)])
        return self._written(reader, like.text, (*via, name))[0]

    def _check_references(self, reader: Reader, written: Mapping[str, Written]) -> None:
        for (owner, field), target in REFERENCES.items():
            if owner != reader.kind or field not in written:
                continue
            node = written[field].node
            node = node.entries.get("value", node)
            if node.text not in self.names(target):
                message = f"no '{node.text}' among the catalog's {target}"
                key = f"catalog.{owner}.{reader.name}.{field}"
                reader.problems.append(node.problem(message, key, hint(node.text, self.names(target))))


def sources_in(node: Node) -> dict[str, Source]:
    """Return the sources of a ``sources.yaml``.

    Raises
    ------
    ScenarioError
        A source lacks title, publisher or date.
    """
    problems: list[Problem] = []
    found: dict[str, Source] = {}
    for key, entry in node.entries.items():
        texts = {name: part.text for name, part in entry.entries.items() if part.kind == "scalar"}
        unknown = [name for name in entry.entries if name not in _SOURCE_KEYS]
        problems += [
            entry.key_problem(name, f"unknown name '{name}'", f"{key}.{name}", hint(name, _SOURCE_KEYS))
            for name in unknown
        ]
        missing = [name for name in ("title", "publisher", "date") if not texts.get(name)]
        if missing:
            problems.append(entry.problem(f"a source needs {', '.join(missing)}", key))
        elif key == SCENARIO:
            problems.append(entry.problem(f"'{SCENARIO}' is the name of what a scenario says itself", key))
        elif not unknown:
            found[key] = Source(key, **texts)
    if problems:
        raise ScenarioError(problems)
    return found


@cache
def _shipped() -> Catalog:
    return Catalog((Layer(_shipped_document, lambda: sources_in(_shipped_document(_SOURCES))),))


@cache
def _shipped_document(kind: str) -> Node:
    # A shipped file is told by its name alone: where it is installed is nobody's business.
    return read_path(_FOLDER / f"{kind}.yaml", f"{kind}.yaml")
