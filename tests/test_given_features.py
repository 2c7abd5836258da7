"""Image features and class vectors that somebody computed: read, refused, marked, and written for others."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from making import make_tiny
from safetensors.numpy import save_file

import cupl_bench
from cupl_bench.dataset.given import FeaturesSource
from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import DatasetError, PromptsError
from cupl_bench.prompts.embeddings import EmbeddingsStrategy

NAMES = ["ant", "bee", "cat", "dog", "eel"]
GIVEN = ["backbone=given", "backbone.name=somebody"]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows.astype("f8"), axis=1, keepdims=True)).astype("f4")


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Forty images of five classes near their class vector, of width 16."""
    generator = np.random.default_rng(0)
    vectors = unit(generator.normal(size=(5, 16)))
    labels = np.repeat(np.arange(5), 8)
    features = unit(vectors[labels] + generator.normal(size=(40, 16)) * 0.6)
    return {"features": features, "labels": labels, "vectors": vectors}


def source(path: Path, **keys: object) -> FeaturesSource:
    settings = dict.fromkeys(
        ["layout", "split", "model", "labels", "label_column", "orientation", "class_names", "names_of", "protocol",
         "only", "said_to_be_of", "limit"]
    )  # fmt: skip
    return FeaturesSource(**{**settings, "path": str(path), "names": "openai", "seed": 0, **keys})


def strategy(path: Path, **keys: object) -> EmbeddingsStrategy:
    settings = dict.fromkeys(["key", "orientation", "class_names", "aliases"])
    return EmbeddingsStrategy(
        **{**settings, "path": str(path), "extra": "error", "aggregation": Aggregation.MEAN, **keys}
    )


def write_npz(folder: Path, arrays: dict, **more: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "given.npz"
    np.savez(path, features=arrays["features"], labels=arrays["labels"], class_names=np.array(NAMES), **more)
    np.save(folder / "vectors.npy", arrays["vectors"])
    return path


def ask(cli, path: Path, vectors: Path, *more: str) -> int:
    return cli("eval", "dataset=features", f"dataset.path={path}", *GIVEN, "prompts=embeddings",
               f"prompts.path={vectors}", *more)  # fmt: skip


@pytest.mark.slow
def test_a_number_of_given_arrays_is_that_of_numpy(cli, tmp_path: Path, arrays: dict) -> None:
    path = write_npz(tmp_path / "in", arrays)
    assert ask(cli, path, tmp_path / "in/vectors.npy") == 0, cli.err
    record = cli.record()
    right = (arrays["features"] @ arrays["vectors"].T).argmax(axis=1) == arrays["labels"]
    assert 0.5 < right.mean() < 1
    assert record.metrics.top1 == pytest.approx(right.mean(), abs=1e-12)
    assert record.dataset.features.given is True
    assert len(record.dataset.features.sha256) == 64
    assert record.backbone.embed_dim == 16
    assert record.backbone.image_size is None
    assert ask(cli, path, tmp_path / "in/vectors.npy") == 0
    assert "finished before" in cli.err + cli.out


@pytest.mark.slow
def test_other_features_are_another_question(cli, tmp_path: Path, arrays: dict) -> None:
    path = write_npz(tmp_path / "in", arrays)
    assert ask(cli, path, tmp_path / "in/vectors.npy") == 0
    first = cli.record().run_key
    arrays["features"][0, 0] += 1e-3
    write_npz(tmp_path / "in", arrays)
    assert ask(cli, path, tmp_path / "in/vectors.npy") == 0
    second = cli.record().run_key
    np.save(tmp_path / "in/vectors.npy", arrays["vectors"][::-1])
    assert ask(cli, path, tmp_path / "in/vectors.npy") == 0
    assert len({first, second, cli.record().run_key}) == 3


# Layouts ------------------------------------------------------------------------------------------------------------


def _npz(folder: Path, a: dict) -> Path:
    return write_npz(folder, a)


def _safetensors(folder: Path, a: dict) -> Path:
    save_file({"features": a["features"], "labels": a["labels"]}, folder / "x.safetensors",
              {"class_names": json.dumps(NAMES)})  # fmt: skip
    return folder / "x.safetensors"


def _tip_adapter(folder: Path, a: dict) -> Path:
    for split in ("val", "test"):
        torch.save(torch.from_numpy(a["features"] * (1 if split == "test" else -1)), folder / f"{split}_f.pt")
        torch.save(torch.from_numpy(a["labels"]), folder / f"{split}_l.pt")
    return folder


def _shots(folder: Path, a: dict) -> Path:
    torch.save(torch.from_numpy(np.ascontiguousarray(a["features"].T)), folder / "keys_8shots.pt")
    torch.save(torch.nn.functional.one_hot(torch.from_numpy(a["labels"])).half(), folder / "values_8shots.pt")
    return folder


def _zlap(folder: Path, a: dict) -> Path:
    for model, factor in (("RN50", -1), ("ViT-B-16", 3)):
        for split in ("train", "val", "test"):
            np.save(folder / f"{model}_{split}_feats.npy", a["features"] * factor)
            np.save(folder / f"{model}_{split}_targets.npy", a["labels"])
    return folder


def _otter(folder: Path, a: dict) -> Path:
    np.save(folder / "CUB_ViT-B32_img_emb.npy", a["features"] * 7)
    np.save(folder / "CUB_ViT-B32_y_emb.npy", a["vectors"])
    np.save(folder / "CUB_y.npy", a["labels"])
    return folder


def _clip_retrieval(folder: Path, a: dict) -> Path:
    (folder / "img_emb").mkdir()
    (folder / "metadata").mkdir()
    for part in range(11):  # so that part 10 does not come before part 2
        here = slice(part * 4, min(part * 4 + 4, 40)) if part < 10 else slice(40, 40)
        if part == 10:
            continue
        np.save(folder / f"img_emb/img_emb_{part}.npy", a["features"][here])
        table = pd.DataFrame(
            {"image_path": [f"{i}.jpg" for i in range(40)][here], "caption": [NAMES[i] for i in a["labels"][here]]}
        )
        table.to_parquet(folder / f"metadata/metadata_{part}.parquet")
    return folder


def _ecalp(folder: Path, a: dict) -> Path:
    views = np.stack([a["features"], a["features"]], axis=1)
    content = {"image_features": torch.from_numpy(views), "text_features": torch.from_numpy(a["vectors"]),
               "labels": torch.from_numpy(a["labels"])}  # fmt: skip
    torch.save(content, folder / "Flower102.pt")
    return folder / "Flower102.pt"


def _ecalp_shots(folder: Path, a: dict) -> Path:
    ones = np.eye(5, dtype="f4")[a["labels"]].reshape(5, 8, 5)
    content = {"image_features": torch.from_numpy(a["features"].reshape(5, 8, 16)), "labels": torch.from_numpy(ones)}
    torch.save(content, folder / "I.pt")
    return folder / "I.pt"


@pytest.mark.parametrize(
    ("write", "keys"),
    [
        (_npz, {}),
        (_safetensors, {}),
        (_tip_adapter, {}),
        (_shots, {}),
        (_zlap, {"model": "ViT-B-16"}),
        (_otter, {}),
        (_clip_retrieval, {"label_column": "caption"}),
        (_ecalp, {}),
        (_ecalp_shots, {}),
    ],
)
def test_every_layout_gives_the_same_rows_and_labels(
    tmp_path: Path, arrays: dict, write: Callable[[Path, dict], Path], keys: dict
) -> None:
    dataset = source(write(tmp_path, arrays), **keys)(tmp_path)
    np.testing.assert_allclose(dataset.features[:], arrays["features"], atol=2e-7)
    assert dataset.labels.tolist() == arrays["labels"].tolist()
    np.testing.assert_array_equal(dataset.features[np.array([39, 0, 7])], dataset.features[:][[39, 0, 7]])


def test_features_that_are_unit_keep_every_bit_and_others_are_scaled_and_said(tmp_path: Path, arrays: dict) -> None:
    plain = source(write_npz(tmp_path / "a", arrays))(tmp_path)
    assert (plain.features[:] == arrays["features"]).all()
    assert not any("not unit" in note for note in plain.notes)
    arrays["features"] = (arrays["features"] * 9).astype("f2")
    scaled = source(write_npz(tmp_path / "b", arrays))(tmp_path)
    np.testing.assert_allclose(np.linalg.norm(scaled.features[:], axis=1), 1, atol=1e-6)
    assert any("not unit: lengths from" in note for note in scaled.notes)


def test_labels_that_are_names_join_the_class_names(tmp_path: Path, arrays: dict) -> None:
    texts = np.array([NAMES[label].upper() for label in arrays["labels"]])
    np.savez(tmp_path / "x.npz", features=arrays["features"], labels=texts, class_names=np.array([*NAMES[::-1], "fly"]))
    dataset = source(tmp_path / "x.npz")(tmp_path)
    assert dataset.class_names == (*NAMES[::-1], "fly")
    assert [dataset.class_names[label] for label in dataset.labels[::8]] == NAMES
    assert "1 of 6 classes have no image here" in dataset.notes


def test_a_named_data_set_gives_names_and_its_split_where_the_number_of_images_says_so(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(1692) % 47
    np.savez(tmp_path / "x.npz", features=generator.normal(size=(1692, 8)).astype("f4"), labels=labels)
    dataset = source(tmp_path / "x.npz", names_of="dtd")(tmp_path)
    assert dataset.split == "coop test"
    assert dataset.origin == {"source": "given features", "protocol": "coop", "names": "openai"}
    np.savez(tmp_path / "y.npz", features=generator.normal(size=(94, 8)).astype("f4"), labels=labels[:94])
    dataset = source(tmp_path / "y.npz", names_of="dtd")(tmp_path)
    assert dataset.split == "given"
    assert dataset.origin["protocol"] == "custom"
    assert any("no split of dtd is of that size" in note for note in dataset.notes)
    with pytest.raises(DatasetError, match=r"labels of 47 classes, and eurosat has fewer \(standard 10"):
        source(tmp_path / "y.npz", names_of="eurosat")(tmp_path)


@pytest.mark.slow
def test_its_texts_are_taken_so_that_strategies_work(cli, tmp_path: Path, tiny) -> None:
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", features=generator.normal(size=(94, 32)).astype("f4"), labels=np.arange(94) % 47)
    asked = ["dataset=features", f"dataset.path={tmp_path / 'x.npz'}", "dataset.names_of=dtd", *tiny.overrides]
    assert cli("eval", *asked, "prompts=ensemble") == 0, cli.err
    record = cli.record()
    texts = pd.read_parquet(cli.results / record.artifacts.prompts)["text"]
    assert record.prompts.num_prompts == 8 * 47
    assert texts[0] == "a photo of a banded texture."
    assert cli("reproduce", record.run_key) == 0, cli.err
    assert "0 have another prediction" in cli.out + cli.err


# What is refused ----------------------------------------------------------------------------------------------------


def with_nan(a: dict) -> None:
    a["features"][3, 2] = np.nan


def with_zeros(a: dict) -> None:
    a["features"][5] = 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_nan, "1 of 40 features are not finite .* first: rows 3"),
        (with_zeros, "1 of 40 features are all zero, first: rows 5"),
        (lambda a: a.update(features=a["features"].astype("f8")), "of the type float64; features are .* Convert them"),
        (lambda a: a.update(features=(a["features"] * 99).astype("i8")), "of the type int64; .* float16 or float32"),
        (lambda a: a.update(labels=a["labels"][:-1]), "features of 40 images .16 wide. and 39 labels"),
        (lambda a: a.update(labels=a["labels"] + 1), "labels from 1 to 5, and there are 5 class names"),
        (lambda a: a.update(labels=a["labels"] - 1), "8 of 40 labels are below 0"),
        (lambda a: a.update(labels=a["labels"] + 0.5), "one class index or one class name"),
        (lambda a: a.update(labels=np.ones((40, 5)) * 0.5), "40 of 40 rows of labels .* have no 1, or"),
        (lambda a: a.update(features=a["features"][0]), r"of the shape \(16,\)"),
    ],
)
def test_values_that_no_features_have_are_refused_with_their_numbers(
    tmp_path: Path, arrays: dict, change: Callable[[dict], None], told: str
) -> None:
    change(arrays)
    path = write_npz(tmp_path / "in", arrays)
    with pytest.raises(DatasetError, match=told) as error:
        source(path)(tmp_path)
    assert str(path) in str(error.value)


def test_files_that_are_damaged_or_run_code_are_refused(tmp_path: Path, arrays: dict) -> None:
    path = write_npz(tmp_path / "in", arrays)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(DatasetError, match=r"given.npz \([\d,]+ bytes\) is not a whole file .* cut short"):
        source(path)(tmp_path)
    np.savez(tmp_path / "objects.npz", features=np.array([{"a": 1}] * 3, dtype=object), labels=np.arange(3))
    with pytest.raises(DatasetError, match="running code inside the file"):
        source(tmp_path / "objects.npz")(tmp_path)
    torch.save({"features": Path("x"), "labels": torch.arange(3)}, tmp_path / "objects.pt")
    with pytest.raises(DatasetError, match="running code inside the file"):
        source(tmp_path / "objects.pt")(tmp_path)
    for name, value in (("cut.pt", b"PK\x03\x04 half"), ("cut.safetensors", b"12"), ("cut.npy", b"\x93NUMPY")):
        (tmp_path / name).write_bytes(value)
        with pytest.raises(DatasetError, match=f"{name} .* bytes. is not a whole file"):
            source(tmp_path / name)(tmp_path)


def test_a_folder_that_holds_several_sets_is_asked_about(tmp_path: Path, arrays: dict) -> None:
    _zlap(tmp_path, arrays)
    with pytest.raises(DatasetError, match=r"features of 2 models: 'RN50', 'ViT-B-16'. Name one: dataset.model=RN50"):
        source(tmp_path)(tmp_path)
    with pytest.raises(DatasetError, match=r"dataset.model=RN51 is not here; .* Did you mean 'RN50'"):
        source(tmp_path, model="RN51")(tmp_path)
    write_npz(tmp_path, arrays)
    with pytest.raises(DatasetError, match=r"2 layouts, zlap and arrays.* dataset.layout=zlap"):
        source(tmp_path)(tmp_path)
    assert len(source(tmp_path, layout="zlap", model="RN50", split="val")(tmp_path).labels) == 40
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no features in a layout that is known"):
        source(tmp_path / "empty")(tmp_path)
    with pytest.raises(DatasetError, match=r"x.npz does not exist"):
        source(tmp_path / "x.npz")(tmp_path)


def test_as_many_images_as_values_is_told_by_the_lengths_or_asked(tmp_path: Path, arrays: dict) -> None:
    square = arrays["features"][:16]
    np.savez(tmp_path / "rows.npz", features=square, labels=np.arange(16) % 5)
    np.savez(tmp_path / "columns.npz", features=square.T, labels=np.arange(16) % 5)
    for name in ("rows", "columns"):
        np.testing.assert_array_equal(source(tmp_path / f"{name}.npz")(tmp_path).features[:], square)
    np.savez(tmp_path / "neither.npz", features=square * 2, labels=np.arange(16) % 5)
    with pytest.raises(DatasetError, match="images may be rows or columns"):
        source(tmp_path / "neither.npz")(tmp_path)
    assert len(source(tmp_path / "neither.npz", orientation="columns")(tmp_path).labels) == 16


def test_a_file_that_changes_while_it_is_scored_is_an_error(tmp_path: Path, arrays: dict) -> None:
    path = write_npz(tmp_path / "in", arrays)
    dataset = source(path)(tmp_path)
    write_npz(tmp_path / "in", {**arrays, "features": arrays["features"][:, :15]})
    for _ in range(2):
        with pytest.raises(DatasetError, match="was changed or removed while this run worked"):
            dataset.features[:3]
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("write", "keys", "told"),
    [
        (lambda f, a: np.save(f, a["vectors"][:4]), {}, "4 x 16 numbers, and there are 5 classes"),
        (lambda f, a: np.save(f, a["vectors"] * np.inf), {}, "5 of 5 vectors are not finite"),
        (lambda f, a: np.save(f, a["vectors"] * 0), {}, "5 of 5 vectors are all zero"),
        (lambda f, a: np.save(f, a["vectors"][:, :5]), {}, "classes may be rows or columns"),
        (lambda f, a: np.save(f, np.arange(80).reshape(5, 16)), {}, "numbers with a point"),
        (lambda f, a: np.save(f, a["vectors"]), {"key": "w"}, "no array 'w'"),
        (lambda f, a: np.save(f, a["vectors"]), {"orientation": "up"}, "prompts.orientation=up is none of"),
    ],
)
def test_class_vectors_that_do_not_fit_are_refused(
    tmp_path: Path, arrays: dict, write: Callable[[Path, dict], None], keys: dict, told: str
) -> None:
    write(tmp_path / "v.npy", arrays)
    with pytest.raises(PromptsError, match=told):
        strategy(tmp_path / "v.npy", **keys)(NAMES)


def test_class_vectors_in_either_orientation_by_name_and_several_of_a_class(tmp_path: Path, arrays: dict) -> None:
    vectors = arrays["vectors"]
    np.save(tmp_path / "columns.npy", vectors.T)
    given = strategy(tmp_path / "columns.npy")(NAMES).given
    np.testing.assert_array_equal(given.rows, vectors)
    more = unit(np.random.default_rng(1).normal(size=(7, 16)))
    np.savez(
        tmp_path / "named.npz", embeddings=more, class_names=np.array(["dog", "EEL", "fly", "ant", "cat", "bee", "gnu"])
    )
    with pytest.raises(PromptsError, match="2 of 7 classes of"):
        strategy(tmp_path / "named.npz")(NAMES)
    prompts = strategy(tmp_path / "named.npz", extra="ignore")(NAMES)
    assert [prompts.given.row_of[text] for (text,) in prompts.texts] == [3, 5, 4, 0, 1]
    np.savez(tmp_path / "several.npz", embeddings=more, classes=np.array([0, 1, 2, 3, 4, 4, 0]))
    prompts = strategy(tmp_path / "several.npz", aggregation=Aggregation.MAX_SIMILARITY)(NAMES)
    assert [len(texts) for texts in prompts.texts] == [2, 1, 1, 1, 2]
    np.savez(tmp_path / "several.npz", embeddings=more, classes=np.array([0, 1, 2, 3, 3, 3, 0]))
    with pytest.raises(PromptsError, match="no vector of 1 of 5 classes, first: 'eel'"):
        strategy(tmp_path / "several.npz")(NAMES)


def test_a_file_of_images_and_class_vectors_gives_the_vectors(tmp_path: Path, arrays: dict) -> None:
    prompts = strategy(_ecalp(tmp_path, arrays))(NAMES)
    np.testing.assert_array_equal(prompts.given.rows, arrays["vectors"])
    assert [prompts.given.row_of[text] for (text,) in prompts.texts] == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_widths_of_two_models_are_refused_and_chance_is_said(cli, tmp_path: Path, arrays: dict) -> None:
    path = write_npz(tmp_path / "in", arrays)
    np.save(tmp_path / "narrow.npy", arrays["vectors"][:, :12])
    assert ask(cli, path, tmp_path / "narrow.npy") == 2
    assert "the image features (dataset) is 16 wide, the class vectors (prompts) is 12 wide" in cli.err
    np.save(tmp_path / "other.npy", unit(np.random.default_rng(5).normal(size=(5, 16))))
    assert ask(cli, path, tmp_path / "other.npy") == 0
    assert "is no better than chance (20.00% with 5 classes)" in cli.out + cli.err
    assert ask(cli, path, tmp_path / "in/vectors.npy") == 0
    assert "than chance" not in cli.out + cli.err
    assert cli("eval", "dataset=features", f"dataset.path={path}", *GIVEN, "prompts=simple") == 2
    assert "its weights are not here, so nothing can be encoded" in cli.err


def test_a_union_does_not_encode_the_names_of_vectors(tmp_path: Path, arrays: dict) -> None:
    from cupl_bench.prompts.union import UnionStrategy

    np.save(tmp_path / "v.npy", arrays["vectors"])
    union = UnionStrategy(members={"a": strategy(tmp_path / "v.npy")}, weights={"a": 1.0}, aggregation=Aggregation.MEAN)
    with pytest.raises(PromptsError, match="gives vectors and no texts"):
        union(NAMES)


# Out, and back ------------------------------------------------------------------------------------------------------


def predictions(results: Path, run_key: str) -> pd.DataFrame:
    return pd.read_parquet(results / f"predictions/{run_key}.parquet").drop(columns=["image_id"])


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["mean", "max_similarity", "mean_similarity"])
def test_our_folder_is_read_back_to_the_last_bit(cli, on_photos, photos: Path, tiny, aggregation: str) -> None:
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, "prompts=templates",
             'prompts.templates=["a photo of a {}.","the {}","{}, a thing"]',
             f"prompts.aggregation={aggregation}"]  # fmt: skip
    assert cli("eval", *asked) == 0, cli.err
    record = cli.record()
    folder = cli.results.parent / "out"
    assert cli("features", *asked, f"to={folder}") == 0, cli.err
    assert ask(cli, folder, folder) == 0, cli.err
    again = cli.record()
    assert again.run_key != record.run_key
    assert again.dataset.features.said_to_be_of == record.backbone.name
    assert again.prompts.aggregation == aggregation
    ours, theirs = (predictions(cli.results, one.run_key) for one in (record, again))
    own = ["index", "label", "prediction", "score", "margin"]
    pd.testing.assert_frame_equal(ours[own], theirs[own], check_exact=True)
    facts = json.loads((folder / "features.json").read_text())
    assert facts["backbone"]["weights_sha256"] == record.backbone.weights_sha256
    assert facts["dataset"]["fingerprint"] == record.dataset.fingerprint
    assert facts["backbone"]["logit_scale"] > 0
    assert cli("features", *asked, f"to={folder}") == 2
    assert "is there already" in cli.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "vectors", "keys"),
    [
        ("tip_adapter", "clip_weights.pt", []),
        ("zlap", "classifiers/tiny_templates_text_classifier.npy", []),
        ("clip_retrieval", "text_emb/text_emb_0.npy", []),
    ],
)
def test_the_layouts_of_others_are_read_back_to_the_last_bit(
    cli, photos: Path, tiny, layout: str, vectors: str, keys: list
) -> None:
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, "backbone.name=tiny", "prompts=templates",
             'prompts.templates=["a photo of a {}.","the {}"]']  # fmt: skip
    assert cli("eval", *asked) == 0, cli.err
    record = cli.record()
    folder = cli.results.parent / "out"
    assert cli("features", *asked, f"to={folder}", f"layout={layout}") == 0, cli.err
    names = f"dataset.class_names={folder / 'class_names.json'}"
    assert ask(cli, folder, folder / vectors, names, *keys) == 0, cli.err
    own = ["index", "label", "prediction", "score", "margin"]
    ours, theirs = (predictions(cli.results, one.run_key)[own] for one in (record, cli.record()))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert cli("features", *asked, "prompts.aggregation=max_similarity", f"to={folder}2", f"layout={layout}") == 2
    assert "needs more" in cli.err
    assert cli("features", *asked, f"to={folder}2", "layout=tip_adaptor") == 2
    assert "Did you mean 'tip_adapter'?" in cli.err
    assert not Path(f"{folder}2").exists()


@pytest.mark.slow
def test_given_features_with_a_text_tower_answer_as_images_do_and_are_marked_everywhere(
    cli, on_photos, photos: Path, tiny
) -> None:
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    folder = cli.results.parent / "out"
    assert cli("eval", "-m", *asked, "prompts=simple,name_only") == 0
    expected = cli.records()
    assert cli("features", *asked, "prompts=simple", f"to={folder}") == 0, cli.err
    given = ["dataset=features", f"dataset.path={folder}", "dataset.name=folder", *tiny.overrides]
    cli.results = cli.results.parent / "others"
    assert cli("eval", "-m", *given, "prompts=simple,name_only") == 0, cli.err
    assert "folder [given features]" in cli.out
    assert "the scores mean nothing" not in cli.out + cli.err
    for name, record in cli.records().items():
        assert record.metrics == expected[name].metrics
        assert record.run_key != expected[name].run_key
    for record in expected.values():  # both kinds in one folder
        for kind in ("records", "predictions", "prompts", "class_embeddings"):
            for path in (cli.results.parent / "results" / kind).glob(f"{record.run_key}.*"):
                (cli.results / kind / path.name).write_bytes(path.read_bytes())
    assert cli("report") == 0, cli.err
    table = pd.read_csv(cli.results / "tables/comparison.csv")
    assert sorted(table["dataset_shown"]) == ["folder"] * 2 + ["folder [given features]"] * 2
    assert "[given features]" in (cli.results / "tables/comparison.md").read_text()
    page = (cli.results / "report/index.html").read_text()
    assert "[given features]" in page
    assert page.count("No thumbnails of folder: its image features were given, without images.") == 1
    frame = cupl_bench.load_results(cli.results)
    assert sorted(frame["features"]) == ["encoded"] * 2 + ["given"] * 2
    assert cli("effects", *given, "prompts=simple") == 0, cli.err
    assert cli("plan", *given, "prompts=ensemble", "prompts.templates=['{}']") == 0, cli.err


@pytest.mark.slow
def test_prompts_of_another_model_than_the_features_are_warned_of(cli, photos: Path, tiny, tmp_path: Path) -> None:
    other = make_tiny(tmp_path / "other", seed=9)
    folder = tmp_path / "out"
    assert cli("features", "dataset=folder", f"dataset.path={photos}", *tiny.overrides, f"to={folder}") == 0, cli.err
    given = ["dataset=features", f"dataset.path={folder}", "prompts=simple"]
    assert cli("eval", *given, *tiny.overrides) == 0, cli.err
    assert "the scores mean nothing" not in cli.out + cli.err
    assert cli("eval", *given, *other.overrides) == 0, cli.err
    assert "the scores mean nothing" in cli.out + cli.err


@pytest.mark.slow
def test_budget_zpe_export_and_import_work_on_given_features(cli, on_photos, photos: Path, tiny) -> None:
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, "prompts=zpe",
             'prompts.templates=["a photo of a {}.","the {}","{}, a thing"]']  # fmt: skip
    folder = cli.results.parent / "out"
    assert cli("eval", *asked) == 0, cli.err
    ours = cli.record()
    assert cli("features", *asked, f"to={folder}") == 0, cli.err
    assert ask(cli, folder, folder) == 0, cli.err
    # Those weights came from all images, so they had no interval; here they are given.
    assert cli.record().metrics.model_copy(update={"top1_ci95": None}) == ours.metrics
    assert ask(cli, folder, folder, "budget=2", "seed=1") == 2 or cli.record().prompts.num_prompts == 10
    assert cli("export", f"to={folder}.zip") == 0, cli.err
    cli.results = cli.results.parent / "imported"
    assert cli("import", f"{folder}.zip") == 0, cli.err
    assert len(cli.records()) >= 1


# From Python --------------------------------------------------------------------------------------------------------


def test_from_python_arrays_are_enough(tmp_path: Path, arrays: dict) -> None:
    places = {"results_dir": tmp_path / "r", "cache_dir": tmp_path / "c"}
    features = cupl_bench.Features(features=arrays["features"], labels=arrays["labels"], class_names=NAMES)
    record = cupl_bench.evaluate(dataset=features, backbone="given", prompts=arrays["vectors"], **places)
    right = (arrays["features"] @ arrays["vectors"].T).argmax(axis=1) == arrays["labels"]
    assert record.metrics.top1 == pytest.approx(right.mean())
    assert record.dataset.features.given is True
    assert record.config.beyond_words
    built = cupl_bench.class_embeddings(
        NAMES, "backbone.logit_scale=50", backbone="given", prompts=arrays["vectors"], **places
    )
    np.testing.assert_array_equal(built.matrix, arrays["vectors"])
    assert built.logit_scale == 50
    with pytest.raises(DatasetError, match="the given array holds features of 40 images"):
        cupl_bench.evaluate(
            dataset=cupl_bench.Features(features=arrays["features"], labels=[0, 1], class_names=NAMES),
            backbone="given", prompts=arrays["vectors"], **places,
        )  # fmt: skip
