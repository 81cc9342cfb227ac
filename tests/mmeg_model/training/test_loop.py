import json
import os
import pickle
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmeg_model.corpora import read_corpora
from mmeg_model.corpora.fer2013 import read_pictures
from mmeg_model.corpora.utterance import Utterance
from mmeg_model.evaluation.metrics import negative_log_likelihoods
from mmeg_model.evaluation.predictions import Predictions, predict
from mmeg_model.splits import Split, speaker_folds
from mmeg_model.training import loop
from mmeg_model.training.checkpoint import load_checkpoint
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.loop import balanced_loss, train

TINY = {
    "num_features": 32,
    "video": {"channels": [8, 16, 16]},
    "dropout": 0.0,
}
CONFIG = TrainingConfig(
    sizes=TINY,
    num_epochs=14,
    clips_per_epoch=128,
    batch_size=8,
    learning_rate=0.005,
    average_decay=0.8,
    augmentation=0.0,
    modality_dropout=0.4,
)


@pytest.fixture(scope="module")
def split(synthetic_data: Path) -> Split:
    return speaker_folds(read_corpora(synthetic_data, ["synthetic"]).utterances, 4, seed=0)[0]


@pytest.fixture(scope="module")
def trained(
    split: Split, clip_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[loop.Trained, Path]:
    folder = tmp_path_factory.mktemp("run")
    return train(CONFIG, split, folder=folder, cache=clip_cache), folder


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """As FER2013 is published: eight pictures of a bright square each, two of each emotion."""
    folder = tmp_path_factory.mktemp("fer2013")
    rows = []
    for number, emotion in enumerate((0, 3, 4, 6) * 2):
        pixels = np.full((48, 48), 60)
        pixels[8 : 20 + number, 8:40] = 200
        rows.append(f"{emotion},{' '.join(map(str, pixels.ravel()))},Training")
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows, ""]))
    return list(read_pictures(folder).utterances)


def accuracy(predictions: Predictions, modalities: str) -> float:
    chosen = predictions.where(predictions.modalities == modalities)
    return float((chosen.logits.argmax(axis=1) == chosen.labels).mean())


def test_learns_shapes_and_tones_of_speakers_it_never_met(trained, split: Split, clip_cache: Path):
    """Both tasks, from both modalities together and from each alone; chance is .25 and .5."""
    predictions = predict(trained[0].network, split.test, cache=clip_cache)
    for modalities in ("audio+video", "audio", "video"):
        assert accuracy(predictions["emotion"], modalities) >= 0.75
        assert accuracy(predictions["gender"], modalities) >= 0.9


def test_the_log_tells_every_epoch_and_the_checkpoint_is_the_best(trained):
    result, folder = trained
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]

    assert [line["epoch"] for line in lines] == [*range(1, len(lines) + 1)]
    assert all(line["weights"] == {"emotion": 0.5, "gender": 0.5} for line in lines)
    sums = [sum(line["validation"].values()) for line in lines]
    assert result.epoch == 1 + int(np.argmin(sums))
    assert sum(result.validation_losses.values()) == min(sums)
    best = load_checkpoint(folder / "checkpoint.pt")["best"]
    assert best["epoch"] == result.epoch
    assert all(torch.equal(best["network"][name], w) for name, w in result.network.state_dict().items())


def test_calibration_lowers_the_validation_loss(trained, split: Split, clip_cache: Path):
    result, _ = trained
    for task, of_task in predict(result.network, split.test, cache=clip_cache).items():
        scaled = Predictions(of_task.logits / result.temperatures[task], *list(vars(of_task).values())[1:])
        assert negative_log_likelihoods(scaled).mean() <= negative_log_likelihoods(of_task).mean() + 1e-6


def test_the_same_seed_gives_the_same_weights(split: Split, clip_cache: Path, tmp_path: Path):
    config = TrainingConfig(sizes=TINY, num_epochs=1, clips_per_epoch=16, batch_size=8)
    first, second = (train(config, split, folder=tmp_path / run, cache=clip_cache).network for run in "ab")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_stops_when_nothing_gets_better(
    split: Split, clip_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    losses = iter([3.0, 3.0, 2.0, 2.0, 2.5, 2.5, 2.5, 2.5, 0.0])  # two tasks an epoch: sums of 6, 4, 5, 5
    monkeypatch.setattr(loop, "balanced_loss", lambda _: next(losses))
    config = TrainingConfig(sizes=TINY, num_epochs=9, clips_per_epoch=8, batch_size=8, patience=2)

    result = train(config, split, folder=tmp_path, cache=clip_cache)

    assert result.epoch == 2
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4


def test_without_validation_all_epochs_are_trained_and_the_last_is_kept(
    split: Split, clip_cache: Path, tmp_path: Path
):
    config = TrainingConfig(sizes=TINY, num_epochs=3, clips_per_epoch=8, batch_size=8, patience=1)

    trained = train(config, Split(split.train, ()), folder=tmp_path, cache=clip_cache)

    assert trained.epoch == 3
    assert trained.temperatures == {"emotion": 1, "gender": 1}
    assert trained.validation_losses == {}
    average = load_checkpoint(tmp_path / "checkpoint.pt")["average"]
    kept = trained.network.state_dict()
    assert all(torch.equal(average[f"module.{name}"], weights) for name, weights in kept.items())
    # A finished one is as finished as with validation.
    assert train(config, Split(split.train, ()), folder=tmp_path, cache=clip_cache).epoch == 3


def faces(joint_loss: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return [weights for name, weights in joint_loss.items() if ".face_network." in name]


def test_faces_from_stills(split: Split, stills: list[Utterance], clip_cache: Path, tmp_path: Path):
    """One epoch is of recordings, one of stills: the first leaves the network of faces as it is, the second does not."""
    config = TrainingConfig(
        sizes=TINY,
        num_epochs=2,
        clips_per_epoch=8,
        batch_size=8,
        still_share=0.5,
        faces_from_stills=True,
        modality_dropout=0.0,
    )
    examples = Split((*split.train, *stills), ())
    torch.manual_seed(config.seed)
    before = faces(loop.JointLoss(loop.build("compact", TINY), None).state_dict())
    states = []
    save = loop.Progress.save

    def noted(progress, folder):
        save(progress, folder)
        states.append(faces(load_checkpoint(folder / "checkpoint.pt")["joint_loss"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Progress, "save", noted)
        train(config, examples, folder=tmp_path, cache=clip_cache)

    assert all(torch.equal(a, b) for a, b in zip(before, states[0], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))


def test_without_stills_faces_learn_from_recordings(split: Split, clip_cache: Path, tmp_path: Path):
    config = TrainingConfig(
        sizes=TINY,
        num_epochs=1,
        clips_per_epoch=8,
        batch_size=8,
        modality_dropout=0.0,
        faces_from_stills=True,
    )
    torch.manual_seed(config.seed)
    before = faces(loop.JointLoss(loop.build("compact", TINY), None).state_dict())
    train(config, Split(split.train, ()), folder=tmp_path, cache=clip_cache)
    after = faces(load_checkpoint(tmp_path / "checkpoint.pt")["joint_loss"])
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_single_task_leaves_the_other_head_alone(split: Split, clip_cache: Path, tmp_path: Path):
    config = TrainingConfig(
        sizes=TINY,
        num_epochs=1,
        clips_per_epoch=32,
        batch_size=16,
        weight_decay=1e-9,
        average_decay=0.0,
        weighting="fixed",
        weighting_arguments={"weights": [1, 0]},
    )
    torch.manual_seed(config.seed)
    untrained = loop.build(config.preset, config.sizes)

    network = train(config, split, folder=tmp_path, cache=clip_cache).network

    before, after = untrained.state_dict(), network.state_dict()
    for modality in ("audio", "video"):
        gender, emotion = (f"said_by_{modality}.heads.{task}.weight" for task in ("gender", "emotion"))
        assert torch.allclose(before[gender], after[gender], atol=1e-6)
        assert not torch.allclose(before[emotion], after[emotion], atol=1e-3)


def test_a_loss_that_is_not_finite_ends_it_and_leaves_the_best_checkpoint(
    split: Split, clip_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calm = loop.task_losses
    steps = 0

    def explode(logits, labels):
        nonlocal steps
        steps += 1
        losses, counts = calm(logits, labels)
        return (losses * torch.tensor([1.0, torch.inf]) if steps > 2 else losses), counts

    monkeypatch.setattr(loop, "task_losses", explode)
    config = TrainingConfig(sizes=TINY, num_epochs=3, clips_per_epoch=16, batch_size=8)
    with pytest.raises(FloatingPointError, match="a loss must be finite, that of gender is inf"):
        train(config, split, folder=tmp_path, cache=clip_cache)
    assert len(load_checkpoint(tmp_path / "checkpoint.pt")["history"]) == 1


@pytest.mark.parametrize("weighting", ["softmax", "rlw", "dwa"])
def test_killed_at_any_step_it_ends_with_the_same_weights(
    split: Split, clip_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weighting: str
):
    """Bit for bit, with dropout, augmentation and a weighting that has a state of its own."""
    config = TrainingConfig(
        sizes={**TINY, "dropout": 0.5},
        weighting=weighting,
        num_epochs=3,
        clips_per_epoch=12,
        batch_size=4,
        augmentation=0.5,
    )
    alone = train(config, split, folder=tmp_path / "alone", cache=clip_cache)
    calm = loop.task_losses
    for last_step in (1, 4, 5):  # of nine, three an epoch; counted from the last checkpoint on
        steps_left = last_step

        def killed(logits, labels):
            nonlocal steps_left
            if steps_left == 0:
                raise KeyboardInterrupt
            steps_left -= 1
            return calm(logits, labels)

        monkeypatch.setattr(loop, "task_losses", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, split, folder=tmp_path / "killed", cache=clip_cache)
    monkeypatch.setattr(loop, "task_losses", calm)

    resumed = train(config, split, folder=tmp_path / "killed", cache=clip_cache)

    state, other = (load_checkpoint(tmp_path / run / "checkpoint.pt") for run in ("alone", "killed"))
    for part in ("joint_loss", "average"):
        assert all(torch.equal(state[part][name], w) for name, w in other[part].items())
    assert state["schedule"] == other["schedule"]
    for number, moments in state["optimizer"]["state"].items():
        assert all(torch.equal(m, other["optimizer"]["state"][number][name]) for name, m in moments.items())
    assert state["history"] == other["history"]
    assert resumed.weights == alone.weights
    assert resumed.temperatures == alone.temperatures
    logs = [(tmp_path / run / "log.jsonl").read_bytes() for run in ("alone", "killed")]
    assert logs[0] == logs[1]


def test_killed_by_the_system_it_goes_on(split: Split, clip_cache: Path, tmp_path: Path):
    """SIGKILL while the second checkpoint is being written."""
    config = TrainingConfig(sizes=TINY, num_epochs=2, clips_per_epoch=8, batch_size=4)
    alone = train(config, split, folder=tmp_path / "alone", cache=clip_cache)
    script = tmp_path / "killed.py"
    script.write_text(f"""
import os, pickle, signal, sys
import torch
from pathlib import Path
from mmeg_model import whole
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.loop import train

torch.set_num_threads(1)
split = pickle.loads(Path({str(tmp_path / "split")!r}).read_bytes())
folder = Path({str(tmp_path / "killed")!r})
replace = os.replace
def replace_first(source, target):
    if Path(target).name == "checkpoint.pt" and Path(target).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = replace_first
config = TrainingConfig(sizes={TINY!r}, num_epochs=2, clips_per_epoch=8, batch_size=4)
train(config, split, folder=folder, cache=Path({str(clip_cache)!r}))
""")
    (tmp_path / "split").write_bytes(pickle.dumps(split))
    killed = subprocess.run([sys.executable, script], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(load_checkpoint(tmp_path / "killed" / "checkpoint.pt")["history"]) == 1

    resumed = train(config, split, folder=tmp_path / "killed", cache=clip_cache)

    weights, others = alone.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_what_was_not_told_before_it_was_killed_is_told_after(split: Split, clip_cache: Path, tmp_path: Path):
    config = TrainingConfig(sizes=TINY, num_epochs=2, clips_per_epoch=4, batch_size=4)
    train(config, split, folder=tmp_path, cache=clip_cache)
    told = (tmp_path / "log.jsonl").read_bytes()
    (tmp_path / "log.jsonl").write_bytes(told.splitlines(keepends=True)[0])

    train(config, split, folder=tmp_path, cache=clip_cache)

    assert (tmp_path / "log.jsonl").read_bytes() == told


def test_no_worker_outlives_a_training_that_is_killed(split: Split, clip_cache: Path, tmp_path: Path):
    """SIGKILL before the second epoch's checkpoint; then every process of the session must end by itself."""
    (tmp_path / "split").write_bytes(pickle.dumps(split))
    script = tmp_path / "killed.py"
    script.write_text(f"""
import os, pickle, signal
from pathlib import Path
import torch
from mmeg_model.training import loop
from mmeg_model.training.config import TrainingConfig

if __name__ == "__main__":  # workers read this file too
    torch.set_num_threads(1)
    split = pickle.loads(Path({str(tmp_path / "split")!r}).read_bytes())
    calm, steps = loop.task_losses, 0
    def killed(logits, labels):
        global steps
        steps += 1
        if steps == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return calm(logits, labels)
    loop.task_losses = killed
    config = TrainingConfig(sizes={TINY!r}, num_epochs=9, clips_per_epoch=8, batch_size=4)
    loop.train(config, split, folder=Path({str(tmp_path / "run")!r}), cache=Path({str(clip_cache)!r}), num_workers=1)
""")
    with subprocess.Popen([sys.executable, script], start_new_session=True, stderr=subprocess.PIPE) as killed:
        assert killed.wait() == -signal.SIGKILL, killed.stderr.read()
        workers = [p for p in psutil.process_iter() if os.getsid(p.pid) == killed.pid and p.pid != killed.pid]
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert alive == []


def test_a_worker_that_is_killed_ends_it(split: Split, clip_cache: Path, tmp_path: Path):
    """In a process of its own: torch may raise more than once, wherever the main thread is."""
    (tmp_path / "split").write_bytes(pickle.dumps(split))
    script = tmp_path / "killing.py"
    script.write_text(f"""
import pickle
from pathlib import Path
import psutil
from mmeg_model.training import loop
from mmeg_model.training.config import TrainingConfig

if __name__ == "__main__":  # workers read this file too
    split = pickle.loads(Path({str(tmp_path / "split")!r}).read_bytes())
    calm = loop.task_losses
    def killing(logits, labels):
        for child in psutil.Process().children():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
        return calm(logits, labels)
    loop.task_losses = killing
    config = TrainingConfig(sizes={TINY!r}, num_epochs=9, clips_per_epoch=8, batch_size=4)
    try:
        loop.train(config, split, folder=Path({str(tmp_path / "run")!r}), cache=Path({str(clip_cache)!r}), num_workers=1)
    except OSError as error:
        print(error, flush=True)
""")
    ran = subprocess.run([sys.executable, script], check=False, capture_output=True, text=True)
    assert "a process that prepares batches has ended" in ran.stdout, ran.stderr


def test_what_a_worker_cannot_decode_is_told_in_a_line(split: Split, clip_cache: Path, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    nothing = Split(tuple(replace(u, path=broken) for u in split.train), split.test)
    with pytest.raises(OSError, match=r"^ten utterances one after the other cannot be decoded"):
        train(CONFIG, nothing, folder=tmp_path / "run", cache=clip_cache, num_workers=1)


def test_a_finished_training_is_not_done_again(
    trained, split: Split, clip_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    result, folder = trained
    monkeypatch.delattr(loop, "task_losses")  # no step can be made

    again = train(CONFIG, split, folder=folder, cache=clip_cache)

    assert again.epoch == result.epoch
    assert again.temperatures == result.temperatures


def test_another_training_in_the_folder_is_refused(trained, split: Split, clip_cache: Path):
    _, folder = trained
    with pytest.raises(ValueError, match=r"another training .batch_size: 8, now 16.: take another folder"):
        train(replace(CONFIG, batch_size=16), split, folder=folder, cache=clip_cache)
    with pytest.raises(ValueError, match=r"another training .examples: "):
        train(CONFIG, Split(split.train[1:], split.test), folder=folder, cache=clip_cache)


def test_workers_change_nothing(split: Split, clip_cache: Path, tmp_path: Path):
    config = TrainingConfig(sizes=TINY, num_epochs=2, clips_per_epoch=8, batch_size=4)
    alone, helped = (
        train(config, split, folder=tmp_path / str(n), cache=clip_cache, num_workers=n) for n in (0, 2)
    )
    weights, others = alone.network.state_dict(), helped.network.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_file_that_cannot_be_decoded_is_left_out(
    split: Split, clip_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    train_side = tuple(
        replace(u, path=broken) if u.speaker == split.train[0].speaker else u for u in split.train
    )
    config = TrainingConfig(sizes=TINY, num_epochs=1, clips_per_epoch=64, batch_size=8)

    trained = train(config, Split(train_side, split.test), folder=tmp_path / "run", cache=clip_cache)

    assert trained.epoch == 1
    told = capsys.readouterr().err
    assert told.count("left out, another is drawn instead") == 1
    assert "broken.mp4 cannot be decoded" in told


def test_a_validation_clip_that_cannot_be_decoded(
    split: Split, clip_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    held_out = (replace(split.test[0], path=broken), *split.test[1:])
    config = TrainingConfig(sizes=TINY, num_epochs=1, clips_per_epoch=8, batch_size=8)

    trained = train(config, Split(split.train, held_out), folder=tmp_path / "run", cache=clip_cache)

    assert trained.epoch == 1
    assert re.search(r"left out of validation: .*broken\.mp4 cannot be decoded", capsys.readouterr().err)
    none = Split(split.train, tuple(replace(u, path=broken) for u in split.test))
    with pytest.raises(OSError, match="none of 8 utterances for validation can be decoded"):
        train(config, none, folder=tmp_path / "other", cache=clip_cache)


def test_what_nobody_is_labelled_for(
    split: Split, clip_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = TrainingConfig(sizes=TINY, num_epochs=1, clips_per_epoch=8, batch_size=8)
    no_gender = Split(tuple(replace(u, perceived_gender=None) for u in split.train), split.test)
    train(config, no_gender, folder=tmp_path / "run", cache=clip_cache)
    assert "nobody who is trained on is labelled for gender" in capsys.readouterr().err
    nothing = Split(tuple(replace(u, emotion=None) for u in no_gender.train), split.test)
    with pytest.raises(ValueError, match="none of 24 utterances to train on has a label"):
        train(config, nothing, folder=tmp_path / "other", cache=clip_cache)


def test_weights_that_are_new_each_step_are_logged_as_their_mean(
    split: Split, clip_cache: Path, tmp_path: Path
):
    """Of 64 softmaxes of normal draws: near a half, where single ones stray by .2; those of softmax as they stand."""
    config = TrainingConfig(
        sizes=TINY, weighting="rlw", num_epochs=1, clips_per_epoch=128, batch_size=2, crop_seconds=0.2
    )
    trained = train(config, split, folder=tmp_path, cache=clip_cache)
    assert trained.weights["emotion"] == pytest.approx(0.5, abs=0.1)
    assert sum(trained.weights.values()) == pytest.approx(1)
    drawn = load_checkpoint(tmp_path / "checkpoint.pt")["joint_loss"]["weighting.drawn"]
    assert trained.weights["emotion"] != pytest.approx(drawn[0].item(), abs=1e-6)


def test_nothing_that_can_be_decoded(split: Split, clip_cache: Path, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    nothing = Split(tuple(replace(u, path=broken) for u in split.train), split.test)
    with pytest.raises(OSError, match="ten utterances one after the other cannot be decoded"):
        train(CONFIG, nothing, folder=tmp_path / "run", cache=clip_cache)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_out_of_memory(
    split: Split, clip_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def greedy(logits, labels):
        raise error

    monkeypatch.setattr(loop, "task_losses", greedy)
    with pytest.raises(MemoryError, match=r"batch_size 8 with clips of 4\.0 s needs more memory"):
        train(CONFIG, split, folder=tmp_path, cache=clip_cache)


def test_another_error_is_not_taken_for_a_lack_of_memory(
    split: Split, clip_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def wrong(logits, labels):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(loop, "task_losses", wrong)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(CONFIG, split, folder=tmp_path, cache=clip_cache)


def test_a_gradient_that_is_not_finite(
    split: Split, clip_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calm = loop.task_losses

    def steep(logits, labels):
        losses, counts = calm(logits, labels)
        logits["emotion"].register_hook(lambda gradient: gradient * torch.nan)
        return losses, counts

    monkeypatch.setattr(loop, "task_losses", steep)
    with pytest.raises(FloatingPointError, match="the gradient of step 1 has norm nan: try a lower"):
        train(CONFIG, split, folder=tmp_path, cache=clip_cache)


def test_bfloat16(split: Split, clip_cache: Path, tmp_path: Path):
    """In a process of its own: accelerate keeps the precision for as long as a process lives."""
    (tmp_path / "split").write_bytes(pickle.dumps(split))
    script = tmp_path / "bf16.py"
    script.write_text(f"""
import pickle
from dataclasses import replace
from pathlib import Path
from mmeg_model.training.config import TrainingConfig
from mmeg_model.training.loop import train

split = pickle.loads(Path({str(tmp_path / "split")!r}).read_bytes())
config = TrainingConfig(
    sizes={TINY!r}, num_epochs=1, clips_per_epoch=16, batch_size=8, mixed_precision="bf16", weighting="softmax"
)
trained = train(config, split, folder=Path({str(tmp_path / "run")!r}), cache=Path({str(clip_cache)!r}))
print(next(trained.network.parameters()).dtype, sum(trained.validation_losses.values()))
""")
    ran = subprocess.run([sys.executable, script], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    dtype, loss = ran.stdout.split()
    assert dtype == "torch.float32"
    config = TrainingConfig(sizes=TINY, num_epochs=1, clips_per_epoch=16, batch_size=8, weighting="softmax")
    exact = train(config, split, folder=tmp_path / "exact", cache=clip_cache)
    assert float(loss) == pytest.approx(sum(exact.validation_losses.values()), rel=0.02)
    assert float(loss) != sum(exact.validation_losses.values())


def test_tensorboard_has_what_the_log_has(trained):
    _, folder = trained
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    for kind in ("train", "validation", "weights"):
        for task in ("emotion", "gender"):
            scalars = events.Scalars(f"{kind}/{task}")
            assert [scalar.step for scalar in scalars] == [line["epoch"] for line in lines]
            assert [scalar.value for scalar in scalars] == pytest.approx([line[kind][task] for line in lines])


@pytest.mark.parametrize("weighting", ["softmax", "rlw"])
def test_two_processes_are_one_with_twice_the_batch(
    split: Split, clip_cache: Path, tmp_path: Path, weighting: str
):
    """With gloo, and labels that are missing unevenly: every other utterance lacks one of two tasks."""
    uneven = tuple(
        replace(u, perceived_gender=None) if n % 3 == 0 else replace(u, emotion=None) if n % 5 == 0 else u
        for n, u in enumerate(split.train)
    )
    split = Split(uneven, split.test)
    config = replace(
        CONFIG,
        sizes={
            **TINY,
            "audio": {"input_dropout": 0.0},
            "video": {**TINY["video"], "dropout": 0.0, "box_jitter": 0.0},
        },
        num_epochs=2,
        clips_per_epoch=24,
        batch_size=6,
        weighting=weighting,
    )
    train(config, split, folder=tmp_path / "one", cache=clip_cache)
    (tmp_path / "work").write_bytes(pickle.dumps((config, split, tmp_path / "two", clip_cache)))
    script = tmp_path / "process.py"
    script.write_text(f"""
import pickle
from pathlib import Path
import torch
from mmeg_model.training.loop import train

torch.set_num_threads(1)
config, split, folder, cache = pickle.loads(Path({str(tmp_path / "work")!r}).read_bytes())
train(config, split, folder=folder, cache=cache)
""")
    launched = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script],
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert launched.returncode == 0, launched.stderr

    one, two = (
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    )
    for line, other in zip(one, two, strict=True):
        for kind in ("train", "validation", "weights"):
            assert other[kind] == pytest.approx(line[kind], abs=1e-4)


def test_nobody_on_the_validation_side_has_a_gender(split: Split, clip_cache: Path, tmp_path: Path):
    without = Split(split.train, tuple(replace(u, perceived_gender=None) for u in split.test))
    config = TrainingConfig(sizes=TINY, num_epochs=1, clips_per_epoch=8, batch_size=8)

    trained = train(config, without, folder=tmp_path, cache=clip_cache)

    assert trained.validation_losses["gender"] == 0
    assert trained.temperatures["gender"] == 1


def test_balanced_loss_by_hand():
    """Three clips of one corpus lose log 2 each, one of another log 4: the mean of groups, not of clips."""
    predictions = Predictions(
        np.array([[0, 0], [0, 0], [0, 0], [0, np.log(3)]], np.float32),
        np.array([0, 1, 0, 0]),
        np.array(["a"] * 4),
        np.array(["x", "x", "x", "y"]),
        np.array(["audio"] * 4),
    )
    assert balanced_loss(predictions) == pytest.approx((np.log(2) + np.log(4)) / 2)


SMALL_PAPER = {
    "audio": {"channels": 10, "short_kernel": 8, "long_kernel": 16},
    "video": {"blocks": [1, 1, 1, 1]},
    "hidden_size": 8,
}


def test_batch_statistics_are_averaged_as_the_weights_are(split: Split, clip_cache: Path, tmp_path: Path):
    """The first step is taken over as it is; behind the second the average stands a tenth of the way to it."""
    config = TrainingConfig(
        preset="paper",
        sizes=SMALL_PAPER,
        num_epochs=1,
        clips_per_epoch=4,
        batch_size=2,
        crop_seconds=0.2,
        average_decay=0.9,
        modality_dropout=0.0,
    )
    statistics = []
    update = loop.AveragedModel.update_parameters

    def noted(average, network):
        statistics.append(network.video.backbone.bn1.running_mean.clone())
        update(average, network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.AveragedModel, "update_parameters", noted)
        train(config, split, folder=tmp_path, cache=clip_cache)

    first, second = statistics
    averaged = load_checkpoint(tmp_path / "checkpoint.pt")["average"][
        "module.video.backbone.bn1.running_mean"
    ]
    assert not torch.allclose(first, second, atol=1e-4)
    assert torch.allclose(averaged, first + 0.1 * (second - first), atol=1e-6)


def test_paper_starts_from_the_weights_of_a_backbone(split: Split, clip_cache: Path, tmp_path: Path):
    """One step on frozen weights would leave them; at a rate of 1e-12 they are what they were."""
    sizes = SMALL_PAPER
    backbone = loop.build("paper", sizes).video.backbone.state_dict()
    torch.save(backbone, tmp_path / "resnet.pth")
    config = TrainingConfig(
        preset="paper",
        sizes=sizes,
        backbone_weights=str(tmp_path / "resnet.pth"),
        num_epochs=1,
        clips_per_epoch=2,
        batch_size=2,
        crop_seconds=0.2,
        learning_rate=1e-12,
    )
    network = train(config, split, folder=tmp_path / "run", cache=clip_cache).network
    assert torch.allclose(network.video.backbone.conv1.weight, backbone["conv1.weight"], atol=1e-6)
    missing = replace(config, backbone_weights=str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match=r"backbone weights: .*No such file.*none\.pth"):
        train(missing, split, folder=tmp_path / "other", cache=clip_cache)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_on_a_gpu_in_bfloat16(split: Split, clip_cache: Path, tmp_path: Path, preset: str):
    config = TrainingConfig(
        preset=preset,
        num_epochs=2,
        clips_per_epoch=32,
        batch_size=8,
        learning_rate=1e-3,
        mixed_precision="bf16",
        weighting="softmax",
    )
    trained = train(config, split, folder=tmp_path, cache=clip_cache, num_workers=2)
    assert all(w.isfinite().all() for w in trained.network.state_dict().values())
    assert next(trained.network.parameters()).device.type == "cpu"
    first, second = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert sum(second["train"].values()) < sum(first["train"].values())
