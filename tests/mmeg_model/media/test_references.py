"""No file makes FFmpeg open another file or call an address: in this process, without the decoders' sandbox."""

import io
import os
import threading

import av
import pytest
from makers.hostile import references
from makers.video import Recipe, make_video
from makers.watch import watched

from mmeg_model.media import container
from mmeg_model.media.decode import decode_span
from mmeg_model.media.errors import MediaError
from mmeg_model.media.probe import probe
from mmeg_model.media.windows import fixed_windows

MEDIA = (
    *("alias.mov", "url.mov", "urn.mov", "reference-movie.mov"),
    *("linked.mkv", "attached.mkv", "script-command.wmv"),
)


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canary")
    with watched(make_video(folder, Recipe("canary.mp4", seconds=0.4))) as watch:
        yield watch


@pytest.fixture(scope="module")
def files(watch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    made = references(folder, canary=str(watch.canary), url=watch.url, port=watch.port)
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in made}


def read(path):
    """Probe and decode a file as a decoder does; gives back the error if it is refused."""
    with path.open("rb") as file:
        try:
            info = probe(file)
            for _ in decode_span(file, info, fixed_windows(info.duration_ms)):
                pass
        except MediaError as error:
            return error
    return None


TEXTS = (
    *("playlist.m3u8", "remote.m3u8", "variants.m3u8", "key.m3u8", "concat.ffconcat", "session.sdp"),
    *("manifest.mpd", "composition.xml", "list.asx", "list.pls", "list.m3u", "list.ram", "show.smil"),
    *(
        "reference.rtsp",
        "data.url",
        "address.url",
        "index.idx",
        "subtitle.ass",
        "script.avs",
        "metadata.ffmeta",
    ),
)


def test_all_are_tried(files):
    assert set(files) == {*TEXTS, *MEDIA}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_names_others_is_no_video(watch, files, name):
    error = read(files[name])
    assert error is not None
    assert str(error).startswith("open: ")
    assert watch.incidents() == []


@pytest.mark.parametrize("name", MEDIA)
def test_a_video_that_names_others_is_read_alone(watch, files, name):
    read(files[name])
    assert watch.incidents() == []


@pytest.mark.parametrize("name", TEXTS)
def test_protocols_alone_would_suffice(watch, files, name, monkeypatch):
    """Were all demuxers allowed, none could open anything: there is no protocol."""
    monkeypatch.setattr(container, "FORMATS", ",".join(sorted(av.formats_available)))
    read(files[name])
    assert watch.incidents() == []


def test_the_file_is_handed_over_without_its_name(watch, files, monkeypatch):
    """By its name, FFmpeg would choose demuxers, and follow links relative to it."""
    handed_over = []
    real_open = av.open

    def spy(file, **arguments):
        handed_over.append((file, arguments))
        return real_open(file, **arguments)

    monkeypatch.setattr(av, "open", spy)
    read(files["url.mov"])
    assert handed_over
    for file, arguments in handed_over:
        assert not isinstance(file, str | os.PathLike)
        assert not hasattr(file, "name")
        assert arguments["options"]["format_whitelist"] == container.FORMATS
        assert arguments["options"]["protocol_whitelist"] == "none"
        assert arguments.get("format") is None


@pytest.mark.parametrize(
    ("name", "incident"),
    [("concat.ffconcat", "the file was opened"), ("remote.m3u8", "the address was called")],
)
def test_the_watch_sees_what_ffmpeg_does_if_it_may(watch, files, name, incident):
    """The control: the same files, opened by name and without lists."""
    seen = []
    is_done = threading.Event()

    def hang_up():
        while not is_done.is_set():
            seen.extend(watch.incidents())

    other = threading.Thread(target=hang_up)
    other.start()
    lists = {"safe": "0", "protocol_whitelist": "file,http,tcp"}
    try:
        with av.open(str(files[name]), options=lists, timeout=10.0) as opened:
            next(opened.demux(), None)
    except av.error.FFmpegError:
        pass
    finally:
        is_done.set()
        other.join()
    assert incident in [*seen, *watch.incidents()]


def test_what_is_not_allowed_is_refused_under_any_name():
    with pytest.raises(MediaError, match=r"open: \w+: not a video or sound file that FFmpeg recognises"):
        probe(io.BytesIO(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"))
