"""Whether the work fits: GPUs in the queue's pools, ranks in a scale-up domain, bytes in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError, ScalingLawError, UnknownNameError
from simulator.foundation.units import GIB, render
from simulator.llm.architecture import Architecture
from simulator.llm.memory import (
    OPTIMIZER_BYTES,
    WEIGHT_BYTES,
    check_training_memory,
    kv_blocks,
)
from simulator.llm.number_formats import weight_format
from simulator.network.topology import Fabric, Machines, Topology
from simulator.performance.decoder_time import Deployment
from simulator.performance.layouts import nearest_fit
from simulator.performance.training import check_divides
from simulator.scenario.mistake import Mistake
from simulator.scenario.said import Route
from simulator.scenario.script import LeafFault, LinkFault, NicFault, SwitchFault
from simulator.scenario.served_engine import served_engine, served_rule
from simulator.scenario.served_model import served_architecture
from simulator.scenario.served_profile import served_kv_precision
from simulator.scenario.services import Service
from simulator.scenario.sites import Site
from simulator.scenario.training_layout import given_layout
from simulator.scenario.training_tokens import asked_tokens
from simulator.scenario.workloads import JobList, JobStream, Training

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario

_PRECISIONS: Final = ("fp32", "tf32", "fp16", "bf16", "fp8", "fp4")


@dataclass(frozen=True)
class Stock:
    """The GPUs of one type of one pool that a queue may use."""

    node: NodeSpec
    gpu: GpuSpec
    gpus: int


def mistakes(scenario: Scenario, catalog: Catalog) -> Iterator[Mistake]:
    """Return work that could never start where it is sent."""
    yield from _fabrics(scenario, catalog)
    stocks = _stocks(scenario, catalog)
    for index, workload in enumerate(scenario.workloads):
        at: Route = ("workloads", index)
        if isinstance(workload, Training):
            queue = _queue(scenario, workload.queue)
            short = list(_enough(at, queue, stocks[queue], workload.gpus, workload.gpu_type))
            yield from short or _training(at, workload, catalog, stocks[queue])
        elif isinstance(workload, Service):
            yield from _service(scenario, at, workload, catalog, stocks)
        elif isinstance(workload, JobList):
            for number, job in enumerate(workload.jobs):
                queue = _queue(scenario, job.queue or workload.queue)
                yield from _enough((*at, "jobs", number), queue, stocks[queue], job.gpus, job.gpu_type)
        elif isinstance(workload, JobStream):
            queue = _queue(scenario, workload.queue)
            yield from _stream(at, workload, catalog, queue, max(stock.gpus for stock in stocks[queue]))


def _stream(at: Route, stream: JobStream, catalog: Catalog, queue: str, room: int) -> Iterator[Mistake]:
    """Return what is wrong with a stream whose largest job could never start."""
    sizes = [item.gpus for item in catalog.mix(stream.mix).classes]
    if stream.largest_gpus is not None:
        sizes = [size for size in sizes if size <= stream.largest_gpus]
    if not sizes:
        yield Mistake((*at, "largest"), f"{stream.mix!r} has no job of at most {stream.largest_gpus} GPUs")
    elif max(sizes) > room:
        said = (
            f"{stream.mix!r} has jobs of {max(sizes)} GPUs; the largest pool of queue {queue!r} holds {room}"
        )
        yield Mistake((*at, "mix"), said, f"leave them out with `largest: {room}`")


def _fabrics(scenario: Scenario, catalog: Catalog) -> Iterator[Mistake]:
    """Return fabrics that cannot be wired, and faults of what is not there in one."""
    fabrics: dict[str, Fabric | None] = {}
    for index, site in enumerate(scenario.sites):
        try:
            fabrics[site.name] = _fabric(site, catalog)
        except ValueError as error:
            yield Mistake(("sites", index, "fabric"), str(error))
            return
    for index, event in enumerate(scenario.script):
        if isinstance(event, NicFault):
            yield from _ports(scenario, catalog, ("script", index), event, fabrics)
        elif isinstance(event, LeafFault | LinkFault | SwitchFault):
            key = event.kind.removesuffix("-fault")
            address = str(getattr(event, key))
            name, _, own = address.rpartition(".")
            path: Route = ("script", index, key)
            fabric = fabrics[name]
            if fabric is None:
                yield Mistake(path, "has no effect: the site has one node and no fabric")
            elif isinstance(event, LeafFault):
                if int(own) >= fabric.switches:
                    yield Mistake(path, f"{address!r}: the site has leaves 0 to {fabric.switches - 1}")
            else:
                yield from _parts(path, address, own, fabric, event)


def _ports(
    scenario: Scenario, catalog: Catalog, path: Route, event: NicFault, fabrics: Mapping[str, Fabric | None]
) -> Iterator[Mistake]:
    """Return what is wrong with ports that a node is to lose."""
    full = scenario.pool_address(event.node.rpartition(".")[0])
    site, _, pool = full.partition(".")
    has = catalog.node(scenario.site(site).pool(pool).node).gpus_per_node
    if fabrics[site] is None:
        yield Mistake((*path, "node"), "has no effect: the site has one node and no fabric")
    elif event.ports > has:
        yield Mistake((*path, "ports"), f"{event.ports}: the node has {has} ports, one for each GPU")


def _parts(
    path: Route, address: str, own: str, fabric: Fabric, event: LinkFault | SwitchFault
) -> Iterator[Mistake]:
    """Return what is wrong with the part of a fabric that a fault names."""
    try:
        if isinstance(event, LinkFault):
            fabric.link_faults(own, event.left_fraction)
        else:
            fabric.switch_faults(own, 1.0 - event.lost_fraction)
    except UnknownNameError as error:
        yield Mistake(path, f"{address!r}: {error.message}", error.hint)
    except ValueError as error:
        yield Mistake(path, f"{address!r}: {error}")


def _fabric(site: Site, catalog: Catalog) -> Fabric | None:
    """Return a site's fabric as far as its shape goes; None for a single node."""
    nodes = [catalog.node(pool.node) for pool in site.pools]
    total = sum(pool.nodes for pool in site.pools)
    if total < 2:
        return None
    shape: Topology = site.fabric.build()
    return shape.build(Machines(total, max(node.gpus_per_node for node in nodes), 1.0))


def _stocks(scenario: Scenario, catalog: Catalog) -> dict[str, list[Stock]]:
    """Return what each queue can start jobs on."""
    pools = {f"{site.name}.{pool.name}": pool for site in scenario.sites for pool in site.pools}
    stocks: dict[str, list[Stock]] = {}
    for queue in scenario.queues:
        for address in queue.pools:
            pool = pools[address]
            node = catalog.node(pool.node)
            gpus = (pool.nodes - pool.hot_spares) * node.gpus_per_node
            stocks.setdefault(queue.name, []).append(Stock(node, catalog.gpu(node.gpu), gpus))
    return stocks


def _queue(scenario: Scenario, name: str | None) -> str:
    return name if name is not None else scenario.queues[0].name


def _enough(at: Route, queue: str, stocks: list[Stock], gpus: int, gpu_type: str | None) -> Iterator[Mistake]:
    """Return what is wrong if no pool of the queue could ever hold the job."""
    right = [stock for stock in stocks if gpu_type in {None, stock.gpu.name}]
    if not right:
        known = ", ".join(dict.fromkeys(stock.gpu.name for stock in stocks))
        yield Mistake((*at, "gpu_type"), f"no {gpu_type!r} in queue {queue!r}", f"it has: {known}")
        return
    largest = max(stock.gpus for stock in right)
    if gpus > largest:
        said = f"{gpus} GPUs asked for; the largest pool of queue {queue!r} holds {largest}"
        yield Mistake((*at, "gpus"), said, "hot spares do not count")


def _training(at: Route, run: Training, catalog: Catalog, stocks: list[Stock]) -> Iterator[Mistake]:
    """Return what is wrong with a run's layout on every pool that could hold its GPUs."""
    right = [stock for stock in stocks if run.gpus <= stock.gpus and run.gpu_type in {None, stock.gpu.name}]
    model = catalog.model(run.model)
    if run.context_tokens is not None and run.context_tokens > model.context_tokens:
        yield Mistake(
            (*at, "context"),
            f"{run.context_tokens} tokens; {run.model} takes at most {model.context_tokens}",
        )
    if all(stock.gpu.flop_per_s(run.precision) is None for stock in right):
        known = [name for name in _PRECISIONS if right[0].gpu.flop_per_s(name) is not None]
        said = f"{right[0].gpu.name} has no {run.precision} rate in the catalog"
        yield Mistake((*at, "precision"), said, f"it has: {', '.join(known)}")
    architecture = Architecture.from_spec(model)
    try:
        asked_tokens(run, architecture)
    except ScalingLawError as error:
        said, _, hint = str(error).partition("; ")
        yield Mistake((*at, "loss" if run.loss is not None else "compute_optimal"), said, hint)
    if run.mfu_fraction is not None:
        return
    troubles = [list(_layout(at, run, architecture, model.context_tokens, stock)) for stock in right]
    if all(troubles):
        yield from troubles[0]


def _layout(
    at: Route, run: Training, architecture: Architecture, longest_tokens: int, stock: Stock
) -> Iterator[Mistake]:
    """Return why a layout is impossible on one kind of node."""
    where: Route = (*at, "parallelism")
    given = run.parallelism
    memory_bytes = stock.gpu.memory_bytes
    if given.mode == "auto":
        # Whatever the layout, weights and optimiser states lie somewhere on the run's GPUs.
        least_bytes = architecture.parameters * (WEIGHT_BYTES + OPTIMIZER_BYTES)
        if least_bytes > run.gpus * memory_bytes:
            yield Mistake(
                (*at, "gpus"),
                f"{run.model} does not fit: its training state of {render(least_bytes, 'bytes')} is "
                f"more than the {render(run.gpus * memory_bytes, 'bytes')} of {run.gpus} GPUs",
            )
        return
    tensor = given.tensor_parallel or 1
    domain = stock.node.scale_up_domain_gpus
    if tensor > domain:
        said = (
            f"{tensor} tensor-parallel ranks, but the scale-up domain of {stock.node.name} has {domain} GPUs"
        )
        yield Mistake((*where, "tp"), said)
        return
    stages = given.pipeline_parallel or 1
    # The first and the last chunk may hold an embedding only, as in Llama 3.
    if stages * (given.interleave or 1) > architecture.layers + 2:
        said = f"{stages} stages x {given.interleave} chunks for {architecture.layers} layers"
        yield Mistake((*where, "pp"), said)
        return
    try:
        layout = given_layout(run, longest_tokens)
        check_divides(architecture, layout)
    except LayoutError as error:
        said, _, hint = str(error).partition("; ")
        yield Mistake(where, said, hint)
        return
    try:
        check_training_memory(architecture, layout, memory_bytes)
    except LayoutError as error:
        near = nearest_fit(architecture, layout, stock.gpu, stock.node)
        hint = "no layout near it fits"
        if near is not None and near.memory is not None:
            hint = (
                f"nearest that fits: {near.layout.describe()}, "
                f"{near.memory.total_bytes / GIB:.1f} GiB, {near.step_s:.3g} s a step"
            )
        yield Mistake(where, str(error), hint)


def _service(
    scenario: Scenario,
    at: Route,
    service: Service,
    catalog: Catalog,
    stocks: dict[str, list[Stock]],
) -> Iterator[Mistake]:
    """Return what is wrong with one replica, or with as many as are asked for."""
    if service.sites and service.queue is None:
        pools = [
            stock
            for queue in scenario.queues
            if any(pool.split(".")[0] in service.sites for pool in queue.pools)
            for stock in stocks[queue.name]
        ]
    else:
        pools = stocks[_queue(scenario, service.queue)]
    ranks, most = service.tensor_parallel, service.replicas.highest
    groups, gpus = service.attention_data_parallel, service.gpus_per_replica
    domain = max(stock.node.scale_up_domain_gpus for stock in pools)
    if ranks > domain:
        said = f"{ranks} tensor-parallel ranks, but the largest scale-up domain has {domain} GPUs"
        yield Mistake((*at, "tensor_parallel"), said)
        return
    if gpus > domain:
        yield Mistake(
            (*at, "attention_data_parallel"),
            f"{groups} groups of {ranks} GPUs exchange tokens in every layer, but the largest scale-up "
            f"domain has {domain} GPUs",
            f"at most {domain // ranks} groups",
        )
        return
    room = sum(stock.gpus // gpus for stock in pools)
    if most > room:
        said = f"{most} replicas of {gpus} GPUs; the pools have room for {room}"
        yield Mistake((*at, "replicas"), said)
        return
    try:
        architecture = served_architecture(service, catalog)
    except LayoutError as error:
        yield Mistake((*at, "transform"), str(error))
        return
    try:
        Deployment(ranks, groups, service.expert_parallel).check(architecture)
    except LayoutError as error:
        key = "expert_parallel"
        if architecture.heads % ranks:
            key = "tensor_parallel"
        elif groups > 1 and not architecture.experts and service.expert_parallel == 1:
            key = "attention_data_parallel"
        yield Mistake((*at, key), str(error))
        return
    smallest_bytes = min(stock.gpu.memory_bytes for stock in pools)
    engine = served_engine(service, catalog, smallest_bytes)
    try:
        rule = served_rule(service, engine)
    except ValueError as error:
        yield Mistake((*at, "engine"), str(error))
        return
    if rule.until_done and service.engine.watermark_fraction is not None:
        yield Mistake(
            (*at, "engine", "watermark"),
            "static batches get all their blocks at once, so a watermark has no effect",
            "leave it out",
        )
        return
    if groups > 1 and rule.until_done:
        yield Mistake(
            (*at, "attention_data_parallel"),
            "static batches end each on its own, so groups that advance together have no effect on them",
            "use another engine",
        )
        return
    if service.disaggregated and rule.until_done:
        yield Mistake((*at, "disaggregated"), "static batches decode where they prefill; use another engine")
        return
    refusals = []
    for stock in pools:
        weights = weight_format(service.engine.precision)
        if not weights.is_narrow and stock.gpu.flop_per_s(weights.arithmetic) is None:
            known = [name for name in _PRECISIONS if stock.gpu.flop_per_s(name) is not None]
            refusals.append(
                Mistake(
                    (*at, "engine", "precision"),
                    f"{stock.gpu.name} has no {service.engine.precision} rate in the catalog",
                    f"it has: {', '.join(known)}",
                )
            )
            continue
        try:
            kv_blocks(
                architecture,
                given=service.engine.kv_blocks,
                gpu_memory_bytes=stock.gpu.memory_bytes,
                tensor_parallel=ranks,
                attention_data_parallel=groups,
                precision=service.engine.precision,
                kv_precision=served_kv_precision(service),
                block_tokens=engine.block_tokens,
                memory_fraction=engine.memory_fraction,
                token_budget=engine.token_budget,
                reserved_bytes=engine.reserved_bytes,
            )
        except LayoutError as error:
            refusals.append(Mistake((*at, "tensor_parallel"), str(error)))
        else:
            return
    yield from refusals[:1]
