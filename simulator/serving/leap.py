"""How long a run of pure decode lasts, and how many of its steps fit in a time: closed forms.

With B sequences that hold C tokens of context, decode step i (from 0) takes
``first + i * growth``, where ``first`` covers everything at context C and ``growth`` is what B
more tokens of context add. Integers throughout: the sum over k steps is exact.
"""

from __future__ import annotations

from math import isqrt


def run_ps(first_ps: int, growth_ps: int, steps: int) -> int:
    """Return how long `steps` decode steps in a row take. [ps]

    Examples
    --------
    >>> run_ps(100, 3, 3) == 100 + 103 + 106
    True
    """
    return steps * first_ps + growth_ps * (steps * (steps - 1) // 2)


def steps_within(first_ps: int, growth_ps: int, span_ps: int) -> int:
    """Return the most whole steps that take no longer than `span_ps`.

    The root of the quadratic is taken with an integer square root; its floor is exact because
    the divisor is a whole number.

    Examples
    --------
    >>> steps_within(100, 3, 309), steps_within(100, 3, 308)
    (3, 2)
    """
    if span_ps < first_ps:
        return 0
    if growth_ps == 0:
        return span_ps // first_ps
    linear = 2 * first_ps - growth_ps
    return (isqrt(linear * linear + 8 * growth_ps * span_ps) - linear) // (2 * growth_ps)
