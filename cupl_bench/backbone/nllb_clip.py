"""NLLB-CLIP: a text tower that is told the language of its texts by a token."""

from dataclasses import dataclass
from typing import Any

from cupl_bench.backbone.open_clip import OpenClipSource

__all__ = ["NllbClipSource"]


@dataclass(frozen=True, kw_only=True)
class NllbClipSource(OpenClipSource):
    """A model of open_clip whose text tower is NLLB's (Visheratin, arXiv 2309.01859).

    ``language``: of all texts, by NLLB's code, such as ``jpn_Jpan``: the token of that language stands with each text.
    It is part of the model's tokenizer, and so of its features and run keys.

    The code is the ``src_lang`` of the tokenizer. What open_clip itself calls its language, `HFTokenizer.set_language`,
    does nothing: transformers goes back to ``src_lang`` at each text.
    """

    language: str

    def _config(self) -> tuple[dict[str, Any], dict[str, Any]]:
        config, preprocess = super()._config()
        text = dict(config["text_cfg"])
        text["tokenizer_kwargs"] = {**text.get("tokenizer_kwargs", {}), "src_lang": self.language}
        return {**config, "text_cfg": text}, preprocess
