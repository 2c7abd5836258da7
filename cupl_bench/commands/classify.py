"""`cupl-bench classify`: a few images, some class names."""

import os
from collections.abc import Sequence
from pathlib import Path

from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose
from cupl_bench.errors import ConfigError
from cupl_bench.libraries import PYTORCH, load_libraries
from cupl_bench.paths import absolute
from cupl_bench.terminal import answer, leave_output_to_the_answer, say, speak_to_program

__all__ = ["command"]

ENDINGS = (".pdf", ".svg", ".png")


def command(given: Arguments) -> int:
    """Classify the images among the arguments; returns the exit code."""
    leave_output_to_the_answer()
    load_libraries(PYTORCH)
    from cupl_bench.classify import classify_images
    from cupl_bench.config import machine_of, question_of
    from cupl_bench.schema import Output

    config = compose(given.overrides, given.config_dir)
    for_program = config.output == Output.json
    speak_to_program(for_program)
    images = [*given.plain, *config.images]
    names = config.class_names
    if not images:
        raise ConfigError(
            "classify needs an image: cupl-bench classify IMAGE ... 'class_names=[tree frog,tailed frog]'"
        )
    if names is None:
        raise ConfigError(
            "classify needs class names: 'class_names=[tree frog,tailed frog]', or a path to a JSON list."
        )
    if isinstance(names, str):
        from cupl_bench.dataset.names import read_class_names

        names = read_class_names(Path(names))
    figure = None if "figure" not in given.own else _figure_of(given.own["figure"], images)
    told = []
    for found in classify_images(
        [Path(image) for image in images],
        [str(name) for name in names],
        question_of(config),
        machine_of(config),
    ):
        if for_program:
            told.append(found.as_json())
        else:
            say(found.text())
        if figure is not None:
            os.environ.setdefault("MPLCONFIGDIR", str(absolute(config.cache_dir) / "matplotlib"))
            from PIL import Image

            from cupl_bench.report.figures.descriptors import write_descriptors

            with Image.open(found.image) as image:
                write_descriptors(figure, image, found.classes)
            say(f"figure    {figure}")
    if for_program:
        answer({"images": told})
    return 0


def _figure_of(name: str, images: Sequence[object]) -> Path:
    """Return the path of the figure.

    Raises:
        ConfigError: its ending is no format, or there are several images.
    """
    path = absolute(name)
    if path.suffix not in ENDINGS:
        raise ConfigError(f"figure={name} should end in {', '.join(ENDINGS)}.")
    if len(images) > 1:
        raise ConfigError(f"figure={name} draws one image, and there are {len(images)}. Classify one at a time.")
    return path
