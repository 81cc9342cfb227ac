"""A real decoder process in which somebody else has the say: a video's bytes are Python, run in place of probing.

What attacking code would do after it has taken a decoder over, with the arguments of
`mmeg_model.media.decoder_process`. What the code leaves in `answer` comes back as the container's name.
"""

import json

from mmeg_model.media import decoder_process, probe


def obedient_probe(file, limits):
    names = {"file": file}
    exec(file.read().decode(), names)
    return probe.VideoInfo(
        duration_ms=1_000,
        stated_duration_ms=None,
        container=json.dumps(names["answer"]),
        video_codec="h264",
        width=96,
        height=96,
        rotation_degrees=0,
        audio_codec=None,
    )


probe.probe = obedient_probe

if __name__ == "__main__":
    decoder_process.main()
