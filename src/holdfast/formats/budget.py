"""What a rendering of a chat template may use, and what it has used.

A step is one operation on about ``CHARACTERS_PER_STEP`` characters or ``ITEMS_PER_STEP`` items; more of them cost more. So the
number of steps bounds the time, and with the bound on characters the memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinja2.runtime import Undefined

CHARACTERS_PER_STEP = 512
ITEMS_PER_STEP = 4


class RefusedError(Exception):
    """The template itself called ``raise_exception``: the messages are not what it can express."""


class BrokenError(Exception):
    """The template does what it may not, or fails."""


class ExhaustedError(BrokenError):
    """The template exceeds its budget."""


class PrivateError(BrokenError):
    """The template reaches for what is private, by a name that it puts together while it runs."""


@dataclass(frozen=True)
class Limits:
    """What one rendering may use.

    Args:
        steps: Operations, as the module's description counts them.
        characters: Of any one text that is built; all outputs together may have four times as many.
    """

    steps: int
    characters: int


class Budget:
    """What a rendering has used.

    Args:
        limits: What it may use.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._steps = 0
        self._written = 0

    def reset(self) -> None:
        """Begin a rendering."""
        self._steps = self._written = 0

    def spend(self, steps: int = 1) -> None:
        """Take steps.

        Args:
            steps: How many.

        Raises:
            ExhaustedError: If there are none left.
        """
        self._steps += steps
        if self._steps > self._limits.steps:
            raise ExhaustedError(f"it takes more than {self._limits.steps} steps")

    def fits(self, characters: int) -> None:
        """Check a text's length before it is built.

        Args:
            characters: How many it will have.

        Raises:
            ExhaustedError: If that is too many.
        """
        if characters > self._limits.characters:
            raise ExhaustedError(f"it builds a text of more than {self._limits.characters} characters")

    def touch(self, value: object) -> None:
        """Spend what it costs to handle a value without looking into its items.

        Args:
            value: Any value.
        """
        if isinstance(value, str):
            self.fits(len(value))
            self.spend(1 + len(value) // CHARACTERS_PER_STEP)
        elif isinstance(value, (list, tuple, dict, range)):
            self.spend(1 + len(value) // ITEMS_PER_STEP)
        else:
            self.spend()

    def read(self, value: object, *, plain: bool = False) -> None:
        """Spend what it costs to read a value to its depth; one that is held many times costs as many times.

        Args:
            value: Any value.
            plain: Whether it is going to be written, so that it must be plain data.

        Raises:
            BrokenError: If it must be plain and is not.
        """
        pending, characters = [value], 0
        while pending:
            part = pending.pop()
            self.touch(part)
            if isinstance(part, str):
                characters += len(part)
                self.fits(characters)
            elif isinstance(part, dict):
                pending.extend(part)
                pending.extend(part.values())
            elif isinstance(part, (list, tuple)):
                pending.extend(part)
            elif plain and not (part is None or isinstance(part, (int, float, Undefined))):
                raise BrokenError(f"it writes an object of type {type(part).__name__}")

    def write(self, characters: int) -> str:
        """Count what goes into an output.

        Args:
            characters: How many.

        Returns:
            An empty text, so that the call can stand in an output.
        """
        self.touch(None)
        self._written += characters
        self.fits(self._written // 4)
        return ""
