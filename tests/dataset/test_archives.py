"""Tar archives are unpacked by the same checks on every Python, also on those whose tarfile has no filter."""

import io
import os
import re
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cupl_bench.dataset.archives import unpack
from cupl_bench.errors import DatasetError


def member_of(name: str, kind: bytes, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def packed(path: Path, *members: tarfile.TarInfo, content: bytes = b"content") -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            if member.isreg():
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def plain(name: str, mode: int = 0o644) -> tarfile.TarInfo:
    return member_of(name, tarfile.REGTYPE, mode=mode)


def unpacked(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(params=["this Python", "one without filters"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library of this Python, and what is there of it in Python 3.11.2."""
    if request.param == "this Python":
        return
    for name in ("FilterError", "data_filter", "fully_trusted_filter", "tar_filter"):
        monkeypatch.delattr(tarfile, name, raising=False)

    def extract(self: Any, *_: Any, filter: Any) -> None:
        raise TypeError("extractall() got an unexpected keyword argument 'filter'")

    monkeypatch.setattr(tarfile.TarFile, "extractall", extract)


@pytest.mark.usefixtures("python")
def test_a_tar_is_unpacked_by_every_python(tmp_path: Path) -> None:
    members = [member_of("set", tarfile.DIRTYPE, mode=0o700), plain("set/a.jpg"), plain("/set/deep/er/b.jpg")]
    folder = unpack(packed(tmp_path / "set.tar", *members), tmp_path / "out")
    assert unpacked(folder) == {"set/a.jpg": b"content", "set/deep/er/b.jpg": b"content"}


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize(
    "member",
    [
        plain("../out.txt"),
        plain("a/../../out.txt"),
        plain("..\\out.txt"),
        plain("C:\\out.txt"),
        member_of("../out", tarfile.DIRTYPE),
        member_of("../out.txt", tarfile.SYMTYPE, "a.jpg"),
        member_of("out.txt", tarfile.SYMTYPE, "/etc/passwd"),
        member_of("deep/out.txt", tarfile.SYMTYPE, "../../a.jpg"),
        member_of("deep/out.txt", tarfile.LNKTYPE, "../a.jpg"),
        member_of("out.txt", tarfile.LNKTYPE, "/etc/passwd"),
    ],
    ids=lambda member: f"{member.name} {member.linkname}",
)
def test_a_path_that_leaves_the_folder_is_refused(member: tarfile.TarInfo, tmp_path: Path) -> None:
    archive = packed(tmp_path / "bad.tar", plain("a.jpg"), member)
    with pytest.raises(DatasetError, match=r"bad.tar holds a path that leaves its folder \('.*'\); it is not unpacked"):
        unpack(archive, tmp_path / "deep" / "set")
    assert unpacked(tmp_path) == {"bad.tar": archive.read_bytes()}


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"])
def test_what_is_no_file_folder_or_link_is_refused(kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds 'odd', no file, folder or link; it is not unpacked"):
        unpack(packed(tmp_path / "bad.tar", plain("a.jpg"), member_of("odd", kind)), tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.usefixtures("python")
def test_a_link_is_a_second_name_of_its_file(tmp_path: Path) -> None:
    """Of a file that comes later, too, from another folder, and through other links."""
    folder = unpack(
        packed(
            tmp_path / "set.tar",
            member_of("train/first.jpg", tarfile.SYMTYPE, "../images/a.jpg"),
            member_of("third.jpg", tarfile.SYMTYPE, "./second.jpg"),
            member_of("second.jpg", tarfile.SYMTYPE, "train/first.jpg"),
            plain("images/a.jpg"),
            member_of("hard.jpg", tarfile.LNKTYPE, "images/a.jpg"),
        ),
        tmp_path / "out",
    )
    names = ["hard.jpg", "images/a.jpg", "second.jpg", "third.jpg", "train/first.jpg"]
    assert unpacked(folder) == dict.fromkeys(names, b"content")
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize(
    "links",
    [
        [member_of("loop", tarfile.SYMTYPE, "loop")],
        [member_of("loop", tarfile.SYMTYPE, "other"), member_of("other", tarfile.SYMTYPE, "loop")],
        [member_of("loop", tarfile.SYMTYPE, "gone.jpg")],
        [member_of("loop", tarfile.SYMTYPE, "images")],
    ],
    ids=["itself", "a ring", "nothing", "a folder"],
)
def test_a_link_to_no_file_is_refused_with_the_remedy(links: list[tarfile.TarInfo], tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=re.escape(
            "holds the link 'loop', which does not lead to a file of the archive; it is not unpacked. Unpack it by hand"
            " and name its folder with dataset.path=FOLDER."
        ),
    ):
        unpack(packed(tmp_path / "bad.tar", plain("images/a.jpg"), *links), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_name_that_is_a_file_and_a_link_is_refused(tmp_path: Path) -> None:
    """Which of the two it should be, nothing says."""
    members = [plain("a.jpg"), plain("b.jpg"), member_of("a.jpg", tarfile.SYMTYPE, "b.jpg")]
    with pytest.raises(DatasetError, match=r"cannot be unpacked .*a.jpg is there twice"):
        unpack(packed(tmp_path / "bad.tar", *members), tmp_path / "set")


def test_without_links_on_the_file_system_a_link_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    members = [plain("a.jpg"), member_of("b.jpg", tarfile.LNKTYPE, "a.jpg")]
    folder = unpack(packed(tmp_path / "set.tar", *members), tmp_path / "out")
    assert unpacked(folder) == {"a.jpg": b"content", "b.jpg": b"content"}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_what_is_unpacked_has_the_rights_of_new_files(umask: int, tmp_path: Path) -> None:
    """Colleagues who share a cache read it, whatever the archive says; and nothing of it runs as its owner."""
    archive = packed(tmp_path / "set.tar", plain("a.sh", 0o4777), plain("b.jpg", 0o000))
    before = os.umask(umask)
    try:
        folder = unpack(archive, tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o666 & ~umask}


def test_a_member_that_is_cut_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    archive = packed(tmp_path / "set.tar", plain("a.jpg"), plain("b.jpg"), content=bytes(5000))
    archive.write_bytes(archive.read_bytes()[:8000])
    with pytest.raises(DatasetError, match="cannot be unpacked into .* download it again"):
        unpack(archive, tmp_path / "set")
    assert not (tmp_path / "set").exists()
