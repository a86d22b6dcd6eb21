"""How long prompts and answers are: a joint log-normal under caps, or pairs drawn from a log."""

from __future__ import annotations

import math
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import LengthsSpec
from simulator.foundation.errors import CatalogError

Tokens = NDArray[np.int64]

#: Pairs drawn at a time. Fixed, so that what is drawn does not hang on the blocks asked for.
_BLOCK: Final = 4096
#: Nodes of the quadrature of a mean, over this many standard deviations either side.
_NODES: Final = 8001
_REACH: Final = 9.0
_UNBOUNDED_TOKENS: Final = 1 << 40


class LengthStream(Protocol):
    """A source of (prompt, output) lengths, given away in blocks of any size."""

    def next_block(self, count: int) -> tuple[Tokens, Tokens]:
        """Return `count` prompt lengths and output lengths, each 1 or more. [tokens]"""
        ...


class Lengths(Protocol):
    """A distribution of (prompt, output) lengths."""

    @property
    def mean_prompt_tokens(self) -> float:
        """Expected prompt length. [tokens]"""
        ...

    @property
    def mean_output_tokens(self) -> float:
        """Expected output length. [tokens]"""
        ...

    def stream(self, rng: np.random.Generator) -> LengthStream:
        """Return a source of lengths that draws from `rng` alone."""
        ...


class LognormalLengths:
    """Prompt and output from a joint log-normal, rounded up to whole tokens.

    A pair with a length above its cap is drawn again, so the law is the log-normal given
    both caps. Its means are those of this law: nothing piles up at a cap.

    Parameters
    ----------
    spec
        Medians, sigmas and correlation of the logarithms, caps.

    Raises
    ------
    CatalogError
        If a median or cap is below one token, a cap below its median, a sigma negative, or
        the correlation not strictly between -1 and 1.
    """

    def __init__(self, spec: LengthsSpec) -> None:
        for part in ("prompt", "output"):
            median = getattr(spec, f"{part}_median_tokens")
            sigma = getattr(spec, f"{part}_sigma")
            cap = getattr(spec, f"{part}_cap_tokens")
            if not median >= 1:
                raise CatalogError(f"lengths {spec.name}: {part}_median {median:g}; expected 1 token or more")
            if not 0 <= sigma <= 5:
                raise CatalogError(f"lengths {spec.name}: {part}_sigma {sigma:g}; expected 0 to 5")
            if cap < median:
                # Half of all draws or more would be thrown away.
                raise CatalogError(f"lengths {spec.name}: {part}_cap {cap} is below its median {median:g}")
        if not -1 < spec.correlation < 1:
            raise CatalogError(
                f"lengths {spec.name}: correlation {spec.correlation:g}; expected between -1 and 1"
            )
        self._spec = spec
        self._mean_prompt_tokens, self._mean_output_tokens = _means(spec)

    @classmethod
    def from_means(
        cls,
        prompt_mean_tokens: float,
        output_mean_tokens: float,
        *,
        prompt_median_tokens: float | None = None,
        output_median_tokens: float | None = None,
        correlation: float = 0.0,
    ) -> LognormalLengths:
        """Make uncapped log-normals with these means of whole tokens.

        A median below the mean sets the spread; without one the length is fixed.
        """
        values: dict[str, float] = {}
        for part, mean, median in (
            ("prompt", prompt_mean_tokens, prompt_median_tokens),
            ("output", output_mean_tokens, output_median_tokens),
        ):
            if median is None or median == mean:
                if mean != math.floor(mean):
                    raise CatalogError(f"lengths: {part}_mean {mean:g}; expected a whole number, or a median")
                values[f"{part}_median_tokens"], values[f"{part}_sigma"] = mean, 0.0
                continue
            if not 1 <= median < mean:
                raise CatalogError(
                    f"lengths: {part}_median {median:g}; expected at least 1 and at most the mean {mean:g}"
                )
            sigma = math.sqrt(2.0 * math.log(mean / median))
            # Rounding up adds about half a token to the mean; the scale gives it back.
            scale = median
            for _ in range(8):
                scale *= mean / _capped_mean(scale, sigma, _REACH, _REACH, 0.0)
            values[f"{part}_median_tokens"], values[f"{part}_sigma"] = max(scale, 1.0), sigma
        return cls(
            LengthsSpec(
                name="given",
                title="given by means",
                correlation=correlation,
                prompt_cap_tokens=_UNBOUNDED_TOKENS,
                output_cap_tokens=_UNBOUNDED_TOKENS,
                **values,
            )
        )

    @property
    def mean_prompt_tokens(self) -> float:
        """Expected prompt length. [tokens]"""
        return self._mean_prompt_tokens

    @property
    def mean_output_tokens(self) -> float:
        """Expected output length. [tokens]"""
        return self._mean_output_tokens

    def stream(self, rng: np.random.Generator) -> LengthStream:
        """Return a source of lengths that draws from `rng` alone."""
        return _LognormalStream(self._spec, rng)


class LoggedLengths:
    """Pairs of a log, each as likely as the others: prompt and output stay together.

    Parameters
    ----------
    prompt_tokens, output_tokens : (n,) int
        Lengths of the same requests, one or more. [tokens]
    """

    def __init__(self, prompt_tokens: Tokens, output_tokens: Tokens) -> None:
        if not len(prompt_tokens) or len(prompt_tokens) != len(output_tokens):
            raise CatalogError(
                f"lengths of a log: {len(prompt_tokens)} prompts and {len(output_tokens)} outputs; "
                "expected as many of both, one or more"
            )
        self._prompt, self._output = prompt_tokens, output_tokens

    @property
    def mean_prompt_tokens(self) -> float:
        """Expected prompt length. [tokens]"""
        return float(np.mean(self._prompt))

    @property
    def mean_output_tokens(self) -> float:
        """Expected output length. [tokens]"""
        return float(np.mean(self._output))

    def stream(self, rng: np.random.Generator) -> LengthStream:
        """Return a source of lengths that draws from `rng` alone."""
        return _LoggedStream(self._prompt, self._output, rng)


class _LoggedStream:
    """Draws rows of a log with replacement, one uniform number each."""

    def __init__(self, prompt: Tokens, output: Tokens, rng: np.random.Generator) -> None:
        self._prompt, self._output, self._rng = prompt, output, rng

    def next_block(self, count: int) -> tuple[Tokens, Tokens]:
        row = (self._rng.random(count) * len(self._prompt)).astype(np.int64)
        return self._prompt[row], self._output[row]


class _LognormalStream:
    """Draws blocks of pairs, keeps what the caller has not yet asked for."""

    def __init__(self, spec: LengthsSpec, rng: np.random.Generator) -> None:
        self._spec = spec
        self._rng = rng
        self._left: tuple[Tokens, Tokens] = (np.empty(0, np.int64), np.empty(0, np.int64))

    def next_block(self, count: int) -> tuple[Tokens, Tokens]:
        prompts, outputs = [self._left[0]], [self._left[1]]
        have = len(self._left[0])
        while have < count:
            prompt, output = self._draw()
            prompts.append(prompt)
            outputs.append(output)
            have += len(prompt)
        prompt, output = np.concatenate(prompts), np.concatenate(outputs)
        self._left = (prompt[count:], output[count:])
        return prompt[:count], output[:count]

    def _draw(self) -> tuple[Tokens, Tokens]:
        spec = self._spec
        normal = self._rng.standard_normal((_BLOCK, 2))
        along = normal[:, 0]
        across = spec.correlation * along + math.sqrt(1.0 - spec.correlation**2) * normal[:, 1]
        prompt = np.ceil(spec.prompt_median_tokens * np.exp(spec.prompt_sigma * along))
        output = np.ceil(spec.output_median_tokens * np.exp(spec.output_sigma * across))
        kept = (prompt <= spec.prompt_cap_tokens) & (output <= spec.output_cap_tokens)
        return prompt[kept].astype(np.int64), output[kept].astype(np.int64)


def _means(spec: LengthsSpec) -> tuple[float, float]:
    """Return the means of prompt and output, rounded up, given both caps. [tokens]"""
    prompt_reach = _cap_in_sigmas(spec.prompt_median_tokens, spec.prompt_sigma, spec.prompt_cap_tokens)
    output_reach = _cap_in_sigmas(spec.output_median_tokens, spec.output_sigma, spec.output_cap_tokens)
    return (
        _capped_mean(
            spec.prompt_median_tokens, spec.prompt_sigma, prompt_reach, output_reach, spec.correlation
        ),
        _capped_mean(
            spec.output_median_tokens, spec.output_sigma, output_reach, prompt_reach, spec.correlation
        ),
    )


def _cap_in_sigmas(median: float, sigma: float, cap: float) -> float:
    """Return how many standard deviations of the logarithm a cap lies above the median."""
    return _REACH if sigma == 0.0 else min(math.log(cap / median) / sigma, _REACH)


def _capped_mean(median: float, sigma: float, reach: float, other_reach: float, correlation: float) -> float:
    """Return E[ceil(median e^(sigma z)) | z <= reach, other <= other_reach] by the trapezoid rule."""
    if sigma == 0.0:
        return float(math.ceil(median))
    z = np.linspace(-_REACH, reach, _NODES)
    # The chance that the other length stays under its cap, given this one.
    width = math.sqrt(1.0 - correlation**2)
    beyond = (other_reach - correlation * z) / width
    kept = np.asarray([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in beyond.tolist()])
    density = np.exp(-0.5 * z * z) * kept
    density[0] *= 0.5
    density[-1] *= 0.5
    return float(np.sum(np.ceil(median * np.exp(sigma * z)) * density) / np.sum(density))
