"""What iterations cost one replica, as plain integers that the twin's loop reads quickly."""

from __future__ import annotations

from typing import Final

from simulator.serving.crowd import ReplicaProfile

#: Mean context is rounded to this for the watts of a decode batch. [tokens]
_CONTEXT_BUCKET: Final = 512


class ReplicaCosts:
    """A profile at one clock and a number of GPUs, unpacked; powers in whole milliwatts."""

    __slots__ = (
        "_decode_mw",
        "_gpus",
        "context_ps",
        "idle_mw",
        "pair_ps_1024",
        "prefill_mw",
        "profile",
        "sequence_ps",
        "tokens_ps",
    )

    def __init__(self, profile: ReplicaProfile, gpus: int) -> None:
        iteration = profile.iteration
        self.profile = profile
        self.tokens_ps: list[int] = iteration.tokens_ps.tolist()
        self.sequence_ps = int(iteration.sequence_ps)
        self.context_ps = int(iteration.context_ps)
        self.pair_ps_1024 = int(iteration.pair_ps_1024)
        self._gpus = gpus
        self.idle_mw = self._milliwatts(profile.idle_power_w)
        self.prefill_mw = self._milliwatts(profile.prefill_power_w)
        self._decode_mw: dict[tuple[int, int], int] = {}

    def decode_mw(self, sequences: int, context_tokens: int) -> int:
        """Return the power of a decode batch with this much context in all. [mW]"""
        bucket = (context_tokens // sequences + _CONTEXT_BUCKET // 2) // _CONTEXT_BUCKET
        key = (sequences, bucket)
        known = self._decode_mw.get(key)
        if known is None:
            mean = float(max(bucket * _CONTEXT_BUCKET, _CONTEXT_BUCKET // 2))
            known = self._milliwatts(self.profile.decode_power_w(sequences, mean))
            self._decode_mw[key] = known
        return known

    def _milliwatts(self, gpu_w: float) -> int:
        return round(gpu_w * self._gpus * 1000.0)
