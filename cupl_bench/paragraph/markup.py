"""Text with names and citations in it, as Markdown (of Pandoc) and as LaTeX; what is plain is escaped for each."""

import re
from collections.abc import Callable, Iterable, Sequence

__all__ = ["CITED", "as_latex", "as_markdown", "cite", "code", "joined"]

CODE, CITE, END = "\x01", "\x02", "\x03"
"""What stands around a name and a citation; no other text holds these characters."""
MARKED = re.compile(f"{CODE}([^{END}]*){END}|{CITE}([^{END}]*){END}")
CITED = re.compile(f"{CITE}([^{END}]*){END}")
"""The keys of a citation in marked text, separated by commas."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
}  # fmt: skip


def code(value: object) -> str:
    """Return a name, a number of a version or a digest, to be set as it is."""
    return f"{CODE}{CONTROL.sub(' ', str(value))}{END}"


def cite(keys: Iterable[str]) -> str:
    """Return a citation with the space before it; nothing for no key."""
    found = list(keys)
    return f" {CITE}{','.join(found)}{END}" if found else ""


def joined(parts: Iterable[str]) -> str:
    """Return parts as a list in a sentence.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last


def as_markdown(text: str) -> str:
    r"""Return marked text as Markdown.

    >>> as_markdown("of " + code("a_b") + cite(["pratt2023what"]) + ", 5 * 3")
    'of `a_b` [@pratt2023what], 5 \\* 3'
    """

    def named(value: str) -> str:
        return f"`` {value} ``" if "`" in value else f"`{value}`"

    def plain(value: str) -> str:
        return re.sub(r"([\\`*_\[\]<>])", r"\\\1", value)

    return _rendered(text, plain, named, lambda keys: f"[{'; '.join(f'@{key}' for key in keys)}]")


def as_latex(text: str) -> str:
    r"""Return marked text as LaTeX, in the encoding T1.

    >>> as_latex("of " + code("a_b") + cite(["pratt2023what"]) + ", 5 %")
    'of \\texttt{a\\_b} \\cite{pratt2023what}, 5 \\%'
    """

    def plain(value: str) -> str:
        return "".join(LATEX.get(one, one) for one in value)

    return _rendered(
        text, plain, lambda value: rf"\texttt{{{plain(value)}}}", lambda keys: rf"\cite{{{','.join(keys)}}}"
    )


def _rendered(
    text: str, plain: Callable[[str], str], named: Callable[[str], str], cited: Callable[[Sequence[str]], str]
) -> str:
    parts: list[str] = []
    end = 0
    for match in MARKED.finditer(text):
        parts.append(plain(text[end : match.start()]))
        parts.append(named(match[1]) if match[1] is not None else cited(match[2].split(",")))
        end = match.end()
    return "".join([*parts, plain(text[end:])])
