"""A real decoder process, but for its codecs: a video's bytes are JSON that says what happens while it is read.

A script, with the arguments of `mmeg_model.media.decoder_process`. Keys of the JSON:
    duration_ms: what probing finds.
    do, at_ms: what happens instead of the clip that starts at at_ms, or instead of probing if there is no at_ms.
    once: a file; what is to be done is done only if it is not there, and then it is.
    seconds_per_clip: how long it takes to decode one.
    without: "picture" or "sound" or both.
    num_damaged_packets: of each clip.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from mmeg_model.clip import Clip, num_frames_between
from mmeg_model.media import decode, decoder_process, probe
from mmeg_model.media.errors import MediaError

send = decoder_process._send
stop_in_clip_at_ms = None


def fill_memory():
    hoard = []
    while True:
        hoard.append(np.ones(1 << 24, np.uint8))


def spin():
    while True:
        pass


def refuse():
    raise MediaError(
        "decode", "InvalidDataError", "a half \ud800 of a surrogate pair, and more: " + "x" * 5_000
    )


def fill_disk():
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * (2 << 20))


def fail():
    raise KeyError("a bug")


DEEDS = {
    "SIGSEGV": lambda: ctypes.string_at(0),
    "spin": spin,
    "block": signal.pause,
    "fill memory": fill_memory,
    "fill the disk": fill_disk,
    "refuse": refuse,
    "fail": fail,
    "exit": lambda: os._exit(3),
}


def do(script):
    if "do" in script and not ("once" in script and Path(script["once"]).exists()):
        if "once" in script:
            Path(script["once"]).touch()
        if script["do"] == "stop while sending":
            global stop_in_clip_at_ms
            stop_in_clip_at_ms = script["at_ms"]
        else:
            DEEDS[script["do"]]()


def scripted_probe(file, limits):
    script = json.load(file)
    if "at_ms" not in script:
        do(script)
    report = {
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
        "environment": sorted(os.environ),
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,  # less the one that lists them
        "session": os.getsid(0),
        "limits": {
            name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("CORE", "DATA")
        },
    }
    return probe.VideoInfo(
        duration_ms=script["duration_ms"],
        stated_duration_ms=None,
        container=json.dumps(report),
        video_codec="h264",
        width=96,
        height=96,
        rotation_degrees=0,
        audio_codec=None,
    )


def scripted_decode_span(file, info, windows, *, crop, on_damaged_packet, limits):
    script = json.load(file)
    for start_ms, end_ms in windows:
        if script.get("at_ms") == start_ms:
            do(script)
        time.sleep(script.get("seconds_per_clip", 0))
        for _ in range(script.get("num_damaged_packets", 0)):
            on_damaged_packet()
        t, value = num_frames_between(start_ms, end_ms), start_ms // 40 % 251
        has_picture, has_sound = (part not in script.get("without", ()) for part in ("picture", "sound"))
        yield Clip(
            start_ms,
            end_ms,
            np.full((t, 96, 96, 3), value * has_picture, np.uint8),
            np.full(t, has_picture),
            np.full(t * 640, -value * has_sound, np.int16),
            np.full(t * 640, has_sound),
        )


def scripted_send(channel, message):
    if f'{{"clip": [{stop_in_clip_at_ms},'.encode() in bytes(message[0]):
        half = bytes(message[2])[: 1 << 20]
        send(channel, [*message[:2], half])
        os.kill(os.getpid(), signal.SIGSTOP)
        threading.Event().wait()  # another thread may be the one that stops first
    send(channel, message)


decode.decode_span, probe.probe = scripted_decode_span, scripted_probe
decoder_process._send = scripted_send
decoder_process.enter_sandbox = lambda: None  # what is done once is noted in a file

if __name__ == "__main__":
    decoder_process.main()
