"""The command line: `cupl-bench COMMAND [key=value ...]`.

Exit codes: 0 done; 2 the user's mistake (one message, no traceback); 130 interrupted; 143 ended by SIGTERM; 1 anything
else.
"""

import atexit
import gc
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from cupl_bench import __version__
from cupl_bench.commands import COMMANDS, QUESTION
from cupl_bench.errors import ConfigError, CuplBenchError, nearest
from cupl_bench.interrupts import Terminated, interruptible
from cupl_bench.libraries import import_no_more_than_needed
from cupl_bench.terminal import complain, say, show_log

__all__ = ["main", "program"]

SECRET = re.compile(r"(?:^|[._+])(?:api_?key|(?:access_|auth_)?token|secret|password)$", re.IGNORECASE)
"""Keys of arguments that should not be written anywhere."""

COLLECTIONS = (50_000, 20, 20)
"""New objects before the next search for unreachable ones: the libraries make millions that stay, and Python's own
thresholds search them again and again, a tenth of a short run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["completion"]:
            from cupl_bench.commands import completion

            return completion.command(given[1:])
        if given[:1] == ["help"] and len(given) > 1:
            given = [given[1], "--help", *given[2:]]
        if not given or given[0] in ("-h", "--help", "help"):
            from cupl_bench.commands.help import usage

            say(usage())
            return 0
        if given[0] == "--version":
            say(f"cupl-bench {__version__}")
            return 0
        return _run(given[0], given[1:])
    except CuplBenchError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt as error:
        complain("interrupted; what was encoded is kept, and the same command continues from there")
        return 143 if isinstance(error, Terminated) else 130
    except MemoryError:
        from cupl_bench.memory import out_of_memory

        complain(str(out_of_memory("go on")))
        return 1
    except Exception as error:  # noqa: BLE001 - the last stop: told as a defect, exit code 1
        complain(f"a defect, not a mistake of yours: {type(error).__name__}: {error}")
        traceback.print_exc()
        return 1


def _run(name: str, arguments: Sequence[str]) -> int:
    """Run a command by its name; returns the exit code."""
    if name not in COMMANDS:
        raise ConfigError(_hint(name))
    if typed := [key for key in (one.partition("=")[0] for one in arguments if "=" in one) if SECRET.search(key)]:
        raise ConfigError(
            f"{typed[0]} looks like a secret. Arguments are kept in logs and records, so a key must not be among them:"
            " set the environment variable that the program reads (OPENAI_API_KEY, HF_TOKEN, WANDB_API_KEY)."
        )
    gc.set_threshold(*COLLECTIONS)
    from cupl_bench.commands.arguments import split
    from cupl_bench.progress import showing_progress
    from cupl_bench.ranks import joined, rank

    if not rank():  # torchrun's other processes encode their share of the images and say nothing
        show_log()
    with interruptible(), joined(), showing_progress():
        if rank() and name != "eval":
            return 0
        command = COMMANDS[name]
        given = split(name, command, arguments)
        if given.help:
            from cupl_bench.commands.help import show

            show(name, given)
            return 0
        module = import_module(f"cupl_bench.commands.{command.module or name}")
        return int(module.assist(given) if rank() else module.command(given))


def _hint(word: str) -> str:
    """Return the message about a first word that is no command, with the one thing that was most likely meant."""
    wrong, lists = f"{word!r} is not a command.", "'cupl-bench --help' lists the commands."
    key = re.split(r"[.=@/]", word, maxsplit=1)[0]
    if key != word:
        return f"{wrong} Begin with one: cupl-bench eval {word}"
    groups = {group: group for group in COMMANDS["eval"].groups} | {f"{group}s": group for group in QUESTION}
    if word.casefold() in groups and word not in COMMANDS:
        group = groups[word.casefold()]
        return f"{wrong} {group}=NAME chooses one for eval, and 'cupl-bench eval --help' lists them."
    flags = ["--help", "--version"] if word.startswith("-") else []
    return f"{wrong}{nearest(word, flags or [*COMMANDS, 'completion', 'help'], count=1)} {lists}"


def program() -> NoReturn:
    """Run one command and end the process with it: the entry point.

    Python would then free every object of every library, one by one, a second of work that nobody waits for. What must
    happen at the end happens first: threads are joined, exit handlers called, the last lines written.
    """
    code: list[int] = []
    import_no_more_than_needed()
    atexit.register(_leave, code)  # the first registered is called last
    code.append(main())
    sys.exit(code[0])


def _leave(code: Sequence[int]) -> None:
    if not code:  # something is on its way out that Python shall tell
        return
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any more; Python has its own exit code for that
        return
    os._exit(code[0])


if __name__ == "__main__":
    program()
