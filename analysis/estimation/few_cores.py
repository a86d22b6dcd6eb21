"""What a run's own client and front ends take from its engine, where a job gets cores by its GPUs.

ML.ENERGY's jobs on B200 were given ten cores for each GPU (its ``docs/running-benchmarks.md``):
with one GPU, client, API servers and engine share ten. The same models on H100, and on two B200
and more, show nothing of it. Iterations are then held up by two things, which the rows show but
no column names: sequences whose tokens are handed on, and answers that grow beyond some thousand
tokens, which hold up every iteration alike, at a third of the design power. Both are numbers of that
campaign, not of an engine: simulated services have ``host`` times of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: How sharply an answer's length tells whether it holds the host up.
_STEEP: Final = 4.0


@dataclass(frozen=True, slots=True)
class SharedCores:
    """How long client and front ends keep the engine's host from its next iteration.

    Parameters
    ----------
    sequence_s, crowding
        Of one sequence, and the power of their number with which that grows. [s]
    long_s, long_tokens
        Of any batch whose answers are long, and from how many tokens on they are. [s], [tokens]
    """

    sequence_s: float
    crowding: float
    long_s: float
    long_tokens: float

    def step_s(self, engine_s: float, sequences: float, answer_tokens: float) -> float:
        """Return the time between two iterations. [s]

        Parameters
        ----------
        engine_s
            Of an iteration whose host is never held up. [s]
        sequences, answer_tokens
            In the batch, and of their whole answers in the mean.
        """
        handing_s = self.sequence_s * sequences**self.crowding
        long_s = self.long_s / (1.0 + (self.long_tokens / answer_tokens) ** _STEEP)
        # Independent hold-ups overlap with each other and with the GPU's work.
        return float((engine_s**2 + handing_s**2 + long_s**2) ** 0.5)


#: Fitted on ML.ENERGY v3 text rows of one B200: ``python -m analysis.calibration.few_cores``.
TEN_CORES: Final = SharedCores(sequence_s=0.856e-3, crowding=0.579, long_s=38.1e-3, long_tokens=4230.0)
