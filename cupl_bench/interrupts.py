"""Ctrl-C and SIGTERM: raised where they come, and remembered.

An interrupt is raised between any two steps of Python, also inside a library. The library may swallow it (``Exception
ignored in ...``), or turn it into an error that looks like a mistake of the user. Therefore code that starts the next
piece of work, or records or reports an error, asks first whether an interrupt came.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Terminated", "hurry", "interruptible", "raise_if_interrupted"]

hurry = threading.Event()
"""Set where this process may be killed at any moment: from then on each batch is written when it is encoded."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: a scheduler or a person ends the run, which writes what it has computed, as after Ctrl-C."""


_came: list[type[KeyboardInterrupt]] = []
"""The interrupt that came, if one did; a process has one."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise on Ctrl-C and SIGTERM inside the block; once one came, nothing but the interrupt leaves it.

    A process that was started to ignore a signal (``nohup``, a shell's background) still ignores it.

    Raises:
        KeyboardInterrupt: Ctrl-C came; `Terminated`, which is one, for SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can signals be met
        yield
        return
    heeded = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, _interrupt) for number in heeded}
    try:
        yield
        raise_if_interrupted()
    except Exception:
        raise_if_interrupted()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _came.clear()


def raise_if_interrupted() -> None:
    """Raise the interrupt that came, before code that would continue as if there had been none.

    Raises:
        KeyboardInterrupt: one came.
    """
    if _came:
        raise _came[0]


def _interrupt(number: int, _: object) -> None:
    if not _came:
        _came.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
        raise_if_interrupted()
    if number == signal.SIGINT:  # the second time: at once, whatever waits to be written
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
