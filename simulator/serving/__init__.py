"""Serving: requests on replicas, routed, batched, scaled and counted. One row a plug-in."""
