import subprocess
import sys

import open_clip
import pytest

from cupl_bench.backbone.open_clip_tables import architectures, model_config, pretrained_table


def test_configurations_are_those_of_open_clip() -> None:
    built_in = [
        name for name in open_clip.list_models() if not name.startswith("local-")
    ]  # other tests register theirs
    assert sorted(architectures()) == sorted(built_in)
    different = [name for name in architectures() if model_config(name) != open_clip.get_model_config(name)]
    assert not different
    assert model_config("ViT-B-33") is None


@pytest.mark.long
def test_the_table_is_read_without_the_models() -> None:
    program = (
        "import sys; from cupl_bench.backbone.open_clip_tables import pretrained_table\n"
        "alone = pretrained_table().list_pretrained()\n"
        "assert not {'torch', 'open_clip', 'torchvision', 'transformers', 'timm'} & set(sys.modules)\n"
        "import open_clip, safetensors.torch\n"
        "assert len(alone) > 100 and alone == open_clip.list_pretrained()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_table_is_read_without_pytorch_which_can_be_imported_afterwards() -> None:
    program = (
        "import sys; from cupl_bench.backbone.open_clip_tables import pretrained_table\n"
        "assert pretrained_table().get_pretrained_cfg('ViT-B-32', 'openai')\n"
        "assert not {'torch', 'safetensors.torch', 'open_clip'} & set(sys.modules)\n"
        "import importlib.util; assert importlib.util.find_spec('safetensors.torch')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_imported_open_clip_is_asked_itself() -> None:
    assert pretrained_table() is open_clip.pretrained
