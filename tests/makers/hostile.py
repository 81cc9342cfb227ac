"""Files made to harm who reads them: references to other files and addresses, and forged demands. All are small."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from makers.video import Recipe, make_video

_YEAR_MS = 365 * 86_400_000


def references(folder: Path, *, canary: str, url: str, port: int) -> dict[str, bytes]:
    """Files that name another file and an address, by what they are; whole media files are made in the folder."""
    whole = make_video(folder, Recipe("whole.mov", seconds=0.4)).read_bytes()
    texts = {
        "playlist.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{canary}\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        "remote.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        "variants.m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{canary}\n#EXT-X-STREAM-INF:BANDWIDTH=2\n{url}\n",
        "key.m3u8": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:1,\n{canary}\n#EXT-X-ENDLIST\n',
        "concat.ffconcat": f"ffconcat version 1.0\nfile '{canary}'\nfile '{url}'\n",
        "session.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "manifest.mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
        f'<Period><AdaptationSet mimeType="video/mp4"><Representation id="a" bandwidth="1"><BaseURL>{url}</BaseURL>'
        f'<SegmentList><Initialization sourceURL="{canary}"/><SegmentURL media="{canary}"/></SegmentList>'
        "</Representation></AdaptationSet></Period></MPD>",
        "composition.xml": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
        f"<Id>urn:uuid:0</Id><SegmentList><Segment>{canary}</Segment></SegmentList></CompositionPlaylist>",
        "list.asx": f'<asx version="3.0"><entry><ref href="{url}"/></entry><entry><ref href="{canary}"/></entry></asx>',
        "list.pls": f"[playlist]\nFile1={url}\nFile2={canary}\nNumberOfEntries=2\n",
        "list.m3u": f"{canary}\n{url}\n",
        "list.ram": f"{url}\nfile://{canary}\n",
        "show.smil": f'<smil><body><video src="{url}"/><video src="{canary}"/></body></smil>',
        "reference.rtsp": f"rtsptext\n{url.replace('http', 'rtsp')}\n",
        "data.url": "data:video/mp4;base64,AAAAIGZ0eXBpc29t",
        "address.url": f"{url}\n",
        "index.idx": "# VobSub index file, v7 (do not modify this line!)\nsize: 720x576\nid: en, index: 0\n"
        "timestamp: 00:00:00:000, filepos: 000000000\n",
        "subtitle.ass": f"[Script Info]\nAudio File: {canary}\nVideo File: {url}\n[Events]\n",
        "script.avs": f'AviSource("{canary}")\n',
        "metadata.ffmeta": f";FFMETADATA1\ntitle={url}\n",
    }
    media = {
        "alias.mov": _with_data_reference(whole, _alias(canary)),
        "url.mov": _with_data_reference(whole, _box(b"url ", b"\0\0\0\0" + url.encode() + b"\0")),
        "urn.mov": _with_data_reference(whole, _box(b"urn ", b"\0\0\0\0x\0" + url.encode() + b"\0")),
        "reference-movie.mov": _box(b"ftyp", b"qt  \0\0\0\0qt  ")
        + _box(b"moov", _reference_movie(url) + _reference_movie(canary)),
        "linked.mkv": _matroska(
            [_element("3e83bb", canary.encode()), _element("3eb923", bytes(16))],
            _element(
                "1043a770",
                _element("45b9", _element("45dd", b"\1") + _element("b6", _element("6e67", bytes(16)))),
            ),
        ),
        "attached.mkv": _matroska(
            [],
            _element(
                "1941a469",
                _element(
                    "61a7",
                    _element("466e", canary.encode())
                    + _element("4660", b"text/plain")
                    + _element("465c", url.encode()),
                ),
            ),
        ),
        "script-command.wmv": _asf_with_script(folder, url),
    }
    return {name: text.encode() for name, text in texts.items()} | media


def demands(folder: Path) -> dict[str, bytes]:
    """Files whose headers ask for far more than the file holds, by name; the bytes of a few kB each."""
    small = make_video(
        folder, Recipe("small.mp4", seconds=0.4, container_options={"movflags": "faststart"})
    ).read_bytes()
    jpeg = make_video(
        folder, Recipe("jpeg.mov", seconds=0.4, video="mjpeg", pixel_format="yuvj420p")
    ).read_bytes()
    avi = make_video(
        folder, Recipe("rate.avi", seconds=0.4, video="mjpeg", pixel_format="yuvj420p", audio=None)
    ).read_bytes()
    return {
        "pixels.mov": _with_pixels(jpeg, 30_000, 30_000),
        "rate.avi": _with_rate(avi, 1_000_000),
        "years.mkv": _matroska([], *(_cluster(1_000 * _YEAR_MS * k // 4, b"\1\2" * 8) for k in range(5))),
        "long-block.mkv": _matroska([], _cluster(0, b"\1\2" * 8, duration_ms=1_000 * _YEAR_MS)),
        "streams.mp4": _with_more_streams(small, 10_000),
        "streams.mkv": _matroska([], _cluster(0, b"\1\2" * 8), num_tracks=10_000),
        "endless-packet.mkv": _matroska([], _cluster(0, zlib.compress(bytes(2_000_000), 9)), zipped=True),
        "endless-sample.mp4": _with_sample_size(small, 0x7FFF_FFFF),
        "chapters.mkv": _with_chapters(folder, 5_000),
        "tags.mkv": _matroska([], _tags(5_000), _cluster(0, b"\1\2" * 8)),
        "nested.mp4": _box(b"ftyp", b"isom\0\0\0\0isom") + _nested_boxes(20_000),
        "nested.mkv": _matroska([], _nested_tags(2_000), _cluster(0, b"\1\2" * 8)),
        "samples.mp4": _with_sample_count(small, 0x7FFF_FFFF),
        "sizes.mkv": bytes.fromhex("1a45dfa3 88 4282 85 7765626d 00")
        + bytes.fromhex("18538067 01fffffffffffffe"),
    }


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _with_data_reference(movie: bytes, entry: bytes) -> bytes:
    """The samples of all tracks lie elsewhere. (The index is behind the samples: no offset changes.)"""
    old = _box(b"dref", struct.pack(">II", 0, 1) + _box(b"url ", b"\0\0\0\1"))
    alias = _box(b"dref", struct.pack(">II", 0, 1) + _box(b"alis", b"\0\0\0\1"))
    new = _box(b"dref", struct.pack(">II", 0, 1) + entry)
    assert old in movie or alias in movie
    changed = bytearray()
    position = 0
    while position < len(movie):
        (size,) = struct.unpack_from(">I", movie, position)
        changed += _replaced(movie[position : position + size], (old, alias), new)
        position += size
    return bytes(changed)


def _replaced(box: bytes, olds: tuple[bytes, ...], new: bytes) -> bytes:
    """A box in which those at the end of the path to dref are replaced, and sizes are right."""
    if box in olds:
        return new
    if box[4:8] not in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        return box
    body, position = b"", 8
    while position < len(box):
        (size,) = struct.unpack_from(">I", box, position)
        body += _replaced(box[position : position + size], olds, new)
        position += size
    return _box(box[4:8], body)


def _alias(path: str) -> bytes:
    """A Macintosh alias record, with an absolute path in it."""
    name = path.rpartition("/")[2].encode()[:63]
    record = (
        bytes(10) + b"\4disk" + bytes(23) + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    )
    record += struct.pack(">hh", 1, 1) + bytes(16)
    target = ("disk" + path).replace("/", ":").encode()
    target += b"\0" * (len(target) % 2)
    record += struct.pack(">hH", 2, len(target)) + target + struct.pack(">hH", -1, 0)
    return _box(b"alis", b"\0\0\0\0" + record)


def _reference_movie(target: str) -> bytes:
    data = target.encode() + b"\0"
    return _box(b"rmra", _box(b"rmda", _box(b"rdrf", b"\0\0\0\0url " + struct.pack(">I", len(data)) + data)))


def _asf_with_script(folder: Path, url: str) -> bytes:
    """A Windows Media file whose header tells the player to go to an address."""
    content = make_video(folder, Recipe("a.wmv", seconds=0.4, video="wmv2", audio=None)).read_bytes()
    header_size, num_objects = struct.unpack_from("<QI", content, 16)
    kind, target = "URL".encode("utf-16-le"), url.encode("utf-16-le")
    body = bytes(16) + struct.pack("<HHH", 1, 1, 3) + kind + struct.pack("<IHH", 0, 0, len(url)) + target
    command = bytes.fromhex("301afb1e620bd011a39b00a0c90348f6") + struct.pack("<Q", 24 + len(body)) + body
    forged = content[:16] + struct.pack("<QI", header_size + len(command), num_objects + 1)
    return forged + content[28:header_size] + command + content[header_size:]


def _element(identifier: str, body: bytes) -> bytes:
    return bytes.fromhex(identifier) + struct.pack(">Q", len(body) | 1 << 56) + body


def _matroska(info: list[bytes], *parts: bytes, num_tracks: int = 1, zipped: bool = False) -> bytes:
    """A Matroska file with tracks of 16-bit sound at 8 kHz."""
    head = _element(
        "1a45dfa3", _element("4282", b"matroska") + _element("4287", b"\4") + _element("4285", b"\2")
    )
    zlib_packed = _element("6d80", _element("6240", _element("5034", _element("4254", b"\0"))))
    tracks = b"".join(
        _element(
            "ae",
            _element("d7", struct.pack(">I", number))
            + _element("73c5", struct.pack(">I", number))
            + _element("83", b"\2")
            + _element("86", b"A_PCM/INT/LIT")
            + (zlib_packed if zipped else b"")
            + _element(
                "e1",
                _element("b5", struct.pack(">d", 8_000)) + _element("9f", b"\1") + _element("6264", b"\x10"),
            ),
        )
        for number in range(1, num_tracks + 1)
    )
    unit = _element("2ad7b1", struct.pack(">I", 1_000_000))
    return head + _element(
        "18538067",
        _element("1549a966", unit + b"".join(info)) + _element("1654ae6b", tracks) + b"".join(parts),
    )


def _cluster(at_ms: int, content: bytes, duration_ms: int | None = None) -> bytes:
    block = b"\x81\0\0\x80" + content
    if duration_ms is None:
        blocks = _element("a3", block)
    else:
        blocks = _element("a0", _element("a1", block) + _element("9b", struct.pack(">Q", duration_ms)))
    return _element("1f43b675", _element("e7", struct.pack(">Q", at_ms)) + blocks)


def _tags(count: int) -> bytes:
    simple = b"".join(
        _element("67c8", _element("45a3", b"TAG%d" % number) + _element("4487", b"x"))
        for number in range(count)
    )
    return _element("1254c367", _element("7373", _element("63c0", b"") + simple))


def _nested_tags(depth: int) -> bytes:
    simple = b""
    for _ in range(depth):
        simple = _element("67c8", _element("45a3", b"T") + simple)
    return _element("1254c367", _element("7373", simple))


def _nested_boxes(depth: int) -> bytes:
    return b"".join(struct.pack(">I", 8 * (depth - level)) + b"moov" for level in range(depth))


def _with_pixels(movie: bytes, width: int, height: int) -> bytes:
    """Each JPEG of a file states another size."""
    forged = bytearray(movie)
    start_of_frame = b"\xff\xc0\0\x11\x08"
    at = movie.find(start_of_frame)
    while at >= 0:
        struct.pack_into(">HH", forged, at + 5, height, width)
        at = movie.find(start_of_frame, at + 1)
    assert forged != movie
    return bytes(forged)


def _with_rate(avi: bytes, rate_hz: int) -> bytes:
    forged = bytearray(avi)
    at = avi.index(b"strh")
    struct.pack_into("<II", forged, at + 28, 1, rate_hz)
    struct.pack_into("<I", forged, avi.index(b"avih") + 8, 1)
    return bytes(forged)


def _with_more_streams(movie: bytes, count: int) -> bytes:
    """The first track stands `count` times more in an index that comes first."""
    moov, trak = movie.index(b"moov") - 4, movie.index(b"trak") - 4
    (moov_size,), (trak_size,) = (struct.unpack_from(">I", movie, at) for at in (moov, trak))
    track = movie[trak : trak + trak_size]
    size = struct.pack(">I", moov_size + trak_size * count)
    return movie[:moov] + size + movie[moov + 4 : trak] + track * count + movie[trak:]


def _with_sample_size(movie: bytes, size: int) -> bytes:
    """The first sample of the last track, the sound's, states another size."""
    forged = bytearray(movie)
    struct.pack_into(">I", forged, movie.rindex(b"stsz") + 16, size)
    return bytes(forged)


def _with_sample_count(movie: bytes, count: int) -> bytes:
    """Tables of all tracks state another number of entries, and of samples in their first entry."""
    forged = bytearray(movie)
    for kind in (b"stts", b"stsz", b"stsc", b"stco", b"ctts"):
        at = movie.find(kind)
        while at >= 0:
            struct.pack_into(">II", forged, at + 8, count, count)
            at = movie.find(kind, at + 1)
    return bytes(forged)


def _with_chapters(folder: Path, count: int) -> bytes:
    path = folder / "chapters.mkv"
    with av.open(path, "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8_000, layout="mono")
        output.set_chapters(
            [
                {
                    "id": k,
                    "start": k,
                    "end": k + 1,
                    "time_base": Fraction(1, 1_000),
                    "metadata": {"title": f"chapter {k}"},
                }
                for k in range(count)
            ]
        )
        frame = AudioFrame("s16", "mono", 8_000)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = 8_000, 0
        output.mux(stream.encode(frame) + stream.encode(None))
    return path.read_bytes()
