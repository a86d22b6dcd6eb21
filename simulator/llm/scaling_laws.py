"""How low training brings the loss: by parameters, by tokens, and by tokens seen again.

Chinchilla's form with the constants as refitted by Besiroglu et al.; repeated tokens and excess
parameters count for less, as Muennighoff et al. fitted. Their decay constants were fitted beside
other constants of the same form on the same kind of text; here they are joined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from simulator.foundation.errors import ScalingLawError

#: Runs that the law was fitted on: from 70 million to 16 billion parameters, dense, on 5 to 500
#: billion tokens (Hoffmann et al. 2022, abstract).
FITTED_PARAMETERS: Final = (70e6, 16e9)
FITTED_TOKENS: Final = (5e9, 500e9)

#: The law is used this many times beyond either end, with a word of caution; not further.
MOST_EXTRAPOLATED: Final = 100.0

#: Operations per parameter and token that the law's authors count.
_FLOP_PER_PARAMETER_TOKEN: Final = 6.0

_BISECTIONS: Final = 200


@dataclass(frozen=True, slots=True)
class ScalingLaw:
    """Loss in nats a token: E + A / N^alpha + B / D^beta, N and D as far as they count.

    Parameters
    ----------
    floor
        E, what no training removes. [nats]
    parameter_scale, parameter_exponent
        A and alpha.
    token_scale, token_exponent
        B and beta.
    token_decay, parameter_decay
        Repetitions after which a further pass over the same tokens, and multiples of the
        optimal size for those tokens after which more parameters, count 1/e as much.

    References
    ----------
    Hoffmann et al., "Training compute-optimal large language models", 2022. arXiv:2203.15556
    Besiroglu et al., "Chinchilla scaling: a replication attempt", 2024. arXiv:2404.10102
    Muennighoff et al., "Scaling data-constrained language models", 2023. arXiv:2305.16264

    Examples
    --------
    >>> round(BESIROGLU.loss(70e9, 1.4e12), 3)
    1.974
    """

    floor: float
    parameter_scale: float
    parameter_exponent: float
    token_scale: float
    token_exponent: float
    token_decay: float
    parameter_decay: float

    def effective_tokens(self, tokens: float, unique_tokens: float = math.inf) -> float:
        """Return what tokens are worth in fresh ones. [tokens]"""
        if tokens <= unique_tokens:
            return tokens
        repeats = tokens / unique_tokens - 1.0
        return unique_tokens * (1.0 - self.token_decay * math.expm1(-repeats / self.token_decay))

    def effective_parameters(self, parameters: float, unique_tokens: float = math.inf) -> float:
        """Return what parameters are worth where data is short. [count]"""
        if math.isinf(unique_tokens):
            return parameters
        best = self.optimal_parameters(unique_tokens)
        if parameters <= best:
            return parameters
        excess = parameters / best - 1.0
        return best * (1.0 - self.parameter_decay * math.expm1(-excess / self.parameter_decay))

    def loss(self, parameters: float, tokens: float, unique_tokens: float = math.inf) -> float:
        """Return the expected loss at the end of training. [nats]"""
        return (
            self.floor
            + self._by_parameters(self.effective_parameters(parameters, unique_tokens))
            + self._by_tokens(self.effective_tokens(tokens, unique_tokens))
        )

    def optimal_tokens(self, parameters: float) -> float:
        """Return the tokens at which a model of this size is the best use of its compute. [tokens]

        Where a small change of size or of tokens for the same N D moves the loss by nothing.
        """
        ratio = self.parameter_exponent * self._by_parameters(parameters) / self.token_exponent
        return float((self.token_scale / ratio) ** (1.0 / self.token_exponent))

    def optimal_parameters(self, tokens: float) -> float:
        """Return the size for which so many tokens are the best use of compute. [count]"""
        ratio = self.token_exponent * self._by_tokens(tokens) / self.parameter_exponent
        return float((self.parameter_scale / ratio) ** (1.0 / self.parameter_exponent))

    def tokens_for(self, parameters: float, loss: float, unique_tokens: float = math.inf) -> float:
        """Return the tokens that bring a model to a loss. [tokens]

        Raises
        ------
        ScalingLawError
            If no number of tokens does; the message gives the lowest loss in reach.
        """
        of_size = self._by_parameters(self.effective_parameters(parameters, unique_tokens))
        lowest = self.floor + of_size
        if not math.isinf(unique_tokens):
            most = unique_tokens * (1.0 + self.token_decay)
            lowest += self._by_tokens(most)
        if loss <= lowest:
            short = "" if math.isinf(unique_tokens) else f" on {unique_tokens:.3g} tokens, however often"
            raise ScalingLawError(
                f"loss {loss:g} is out of reach of {parameters:.3g} parameters{short}; "
                f"expected more than {lowest:.4f}"
            )
        worth = (self.token_scale / (loss - self.floor - of_size)) ** (1.0 / self.token_exponent)
        if worth <= unique_tokens:
            return float(worth)
        repeats = -self.token_decay * math.log1p(-(worth / unique_tokens - 1.0) / self.token_decay)
        return unique_tokens * (1.0 + repeats)

    def cheapest(self, loss: float, unique_tokens: float = math.inf) -> tuple[float, float]:
        """Return the (parameters, tokens) that reach a loss with the least compute.

        Raises
        ------
        ScalingLawError
            If data that is short keeps any model from it.
        """
        if loss <= self.floor:
            raise ScalingLawError(f"loss {loss:g} is not above the floor of {self.floor:g}")

        def log_compute(log_size: float) -> float:
            size = math.exp(log_size)
            try:
                return log_size + math.log(self.tokens_for(size, loss, unique_tokens))
            except (ScalingLawError, OverflowError):
                return math.inf

        # The size alone must get below the loss; from there compute has one minimum.
        least = (self.parameter_scale / (loss - self.floor)) ** (1.0 / self.parameter_exponent)
        grid = [math.log(least) + 0.05 * step for step in range(1, 600)]
        near = min(range(len(grid)), key=lambda place: (log_compute(grid[place]), place))
        if math.isinf(log_compute(grid[near])):
            raise ScalingLawError(f"loss {loss:g} is out of reach on {unique_tokens:.3g} tokens")
        low, high = grid[near] - 0.05, grid[near] + 0.05
        for _ in range(_BISECTIONS):
            third = (high - low) / 3.0
            if log_compute(low + third) <= log_compute(high - third):
                high -= third
            else:
                low += third
        size = math.exp(0.5 * (low + high))
        return size, self.tokens_for(size, loss, unique_tokens)

    def _by_parameters(self, parameters: float) -> float:
        return float(self.parameter_scale / parameters**self.parameter_exponent)

    def _by_tokens(self, tokens: float) -> float:
        return float(self.token_scale / tokens**self.token_exponent)


BESIROGLU: Final = ScalingLaw(
    floor=1.8172,
    parameter_scale=482.01,
    parameter_exponent=0.3478,
    token_scale=2085.43,
    token_exponent=0.3658,
    token_decay=15.387756,
    parameter_decay=5.309743,
)


@dataclass(frozen=True, slots=True)
class NextHalving:
    """The cheapest run whose reducible loss is half of another's.

    Parameters
    ----------
    loss
        It ends at. [nats]
    parameters, tokens
        Its size and data. [count, tokens]
    compute_ratio
        Its compute over the other's.
    """

    loss: float
    parameters: float
    tokens: float
    compute_ratio: float


def next_halving(
    parameters: float, tokens: float, unique_tokens: float = math.inf, law: ScalingLaw = BESIROGLU
) -> NextHalving:
    """Return what halving what is left of a run's loss above the floor takes.

    Raises
    ------
    ScalingLawError
        If data that is short keeps any model from it.
    """
    loss = 0.5 * (law.floor + law.loss(parameters, tokens, unique_tokens))
    size, data = law.cheapest(loss, unique_tokens)
    return NextHalving(loss, size, data, size * data / (parameters * tokens))


def compute_flop(parameters: float, tokens: float) -> float:
    """Return the operations as the law's authors count them: 6 N D. [flop]"""
    return _FLOP_PER_PARAMETER_TOKEN * parameters * tokens


def range_said(name: str, parameters: float, tokens: float, *, has_experts: bool = False) -> str:
    """Return how far a run lies beyond those that the law was fitted on; empty if it does not.

    Parameters
    ----------
    name
        Of the model or the run, for messages.

    Raises
    ------
    ScalingLawError
        If the law says nothing of such a run: a model with experts, or too far out.
    """
    if has_experts:
        raise ScalingLawError(
            f"{name} has experts, and the scaling law was fitted on dense models; give tokens"
        )
    said: list[str] = []
    for what, value, (low, high) in (
        ("parameters", parameters, FITTED_PARAMETERS),
        ("tokens", tokens, FITTED_TOKENS),
    ):
        below, above = low / value, value / high
        times = max(below, above)
        if times > MOST_EXTRAPOLATED:
            raise ScalingLawError(
                f"{value:.3g} {what} are {times:.3g} times {'below' if below > above else 'above'} the "
                f"runs that the scaling law was fitted on, {low:.3g} to {high:.3g}; it is used up to "
                f"{MOST_EXTRAPOLATED:g} times"
            )
        if times > 1.0:
            way = "fewer" if below > above else "more"
            said.append(f"{times:.2g} times {way} {what} than the runs it was fitted on")
    return " and ".join(said)
