"""Metric ``bits_per_byte``: what a text costs the model, for each UTF-8 byte of it.

A value that does not depend on the tokenizer: the negative log-likelihood of all tokens in bits, over the bytes of the
text. Values of many texts are taken together by their bytes, not by their number. Lower is better. No I/O.
"""

from __future__ import annotations

import math

DIGITS = 6  # decimal places that are kept of a value: beyond them, equal models differ by rounding alone
WORST = 1e6  # bits for each byte; stands for a likelihood of zero or one that is no number


def value(nats: float, size: int) -> float:
    """Give the bits that each byte of a text costs.

    Args:
        nats: The log-likelihood of its tokens (natural logarithm), at most zero.
        size: UTF-8 bytes of the text, at least one.

    Returns:
        Bits per byte, rounded; never infinite, and a number whatever was given.
    """
    bits = -nats / math.log(2) / size
    if math.isnan(bits) or bits > WORST:
        return WORST
    return round(bits, DIGITS) + 0.0  # no minus zero
