import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet50_Weights, resnet50

from mmeg_model.networks.paper_video import PaperVideo, PaperVideoConfig, load_backbone_weights


@pytest.fixture
def video() -> PaperVideo:
    return PaperVideo(PaperVideoConfig()).eval()


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """Weights as torchvision publishes them, with a last layer of 1000 classes."""
    torch.manual_seed(1)
    return resnet50().state_dict()


def assert_loaded(video: PaperVideo, published: dict[str, torch.Tensor]) -> None:
    for name, weight in video.backbone.state_dict().items():
        assert torch.equal(weight, published[name]), name


def test_pixels_as_the_imagenet_weights_expect_them(video: PaperVideo):
    seen = []
    video.backbone.register_forward_pre_hook(lambda _module, arguments: seen.append(arguments[0]))
    frames = torch.zeros(1, 2, 96, 96, 3, dtype=torch.uint8)
    frames[0, 1] = torch.tensor([255, 51, 0])
    with torch.no_grad():
        features = video(frames, torch.tensor([[False, True]]))
    assert seen[0].shape == (1, 3, 96, 96)
    # (1 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0 - 0.406) / 0.225
    torch.testing.assert_close(
        seen[0][0, :, 50, 50], torch.tensor([2.2489, -1.1429, -1.8044]), rtol=0, atol=1e-4
    )
    assert features[0, 0].abs().max() == 0
    assert features[0, 1].abs().max() > 0


def test_features_equal_those_of_torchvision(video: PaperVideo, published: dict[str, torch.Tensor]):
    video.backbone.load_state_dict(published, strict=False)
    whole = resnet50().eval()
    whole.load_state_dict(published)
    whole.fc = torch.nn.Identity()
    frames = torch.randint(0, 256, (1, 3, 96, 96, 3), dtype=torch.uint8)
    preprocess = ResNet50_Weights.IMAGENET1K_V1.transforms(crop_size=96, resize_size=96)
    with torch.no_grad():
        actual = video(frames, torch.ones(1, 3, dtype=torch.bool))
        expected = whole(preprocess(frames[0].permute(0, 3, 1, 2)))
    torch.testing.assert_close(actual[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_of_a_file(
    tmp_path: Path, video: PaperVideo, published: dict[str, torch.Tensor], suffix: str
):
    file = tmp_path / f"resnet50.{suffix}"
    if suffix == "pth":
        torch.save(published, file)
    else:
        save_file(published, file)
    load_backbone_weights(video.backbone, file)
    assert_loaded(video, published)


def test_imagenet_weights_come_from_torchvision(
    tmp_path: Path,
    video: PaperVideo,
    published: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = (
        tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    )  # where torchvision keeps what it fetched
    file.parent.mkdir(parents=True)
    torch.save(published, file)
    load_backbone_weights(video.backbone, "imagenet")
    assert_loaded(video, published)


def test_imagenet_weights_that_cannot_be_fetched(
    tmp_path: Path, video: PaperVideo, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        ResNet50_Weights.IMAGENET1K_V1.value, "url", (tmp_path / "resnet50-00000000.pth").as_uri()
    )
    with pytest.raises(OSError, match=r"ImageNet weights cannot be fetched .* give a local file instead"):
        load_backbone_weights(video.backbone, "imagenet")


def test_the_first_weight_that_does_not_fit_is_named(
    tmp_path: Path, video: PaperVideo, published: dict[str, torch.Tensor]
):
    other = PaperVideo(PaperVideoConfig(blocks=(3, 4, 5, 3)))
    file = tmp_path / "other.safetensors"
    save_file({name: weight.contiguous() for name, weight in other.backbone.state_dict().items()}, file)
    with pytest.raises(ValueError, match=r"layer3\.5\.conv1\.weight is None, expected \(256, 1024, 1, 1\)"):
        load_backbone_weights(video.backbone, file)
    save_file(published, file)
    with pytest.raises(ValueError, match=r"layer3\.5\.bn1\.bias is \(256,\), expected None"):
        load_backbone_weights(other.backbone, file)
    save_file(published | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, file)
    with pytest.raises(ValueError, match=r"conv1\.weight is \(64, 1, 7, 7\), expected \(64, 3, 7, 7\)"):
        load_backbone_weights(video.backbone, file)


class Trap:
    def __reduce__(self):
        return pytest.fail, ("the pickle was run",)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_pickle_is_not_run(tmp_path: Path, video: PaperVideo, suffix: str):
    file = tmp_path / f"trap.{suffix}"
    if suffix == "pth":
        torch.save({"conv1.weight": Trap()}, file)
    else:
        file.write_bytes(pickle.dumps({"conv1.weight": Trap()}))
    with pytest.raises(ValueError, match=rf"trap\.{suffix} does not hold weights and nothing else"):
        load_backbone_weights(video.backbone, file)


def test_a_checkpoint_with_more_than_weights(
    tmp_path: Path, video: PaperVideo, published: dict[str, torch.Tensor]
):
    file = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": published, "epoch": 3}, file)
    with pytest.raises(ValueError, match=r"checkpoint\.pth must be a state dict, tensors by name"):
        load_backbone_weights(video.backbone, file)


def test_neither_a_file_nor_the_word(tmp_path: Path, video: PaperVideo):
    with pytest.raises(ValueError, match=r"must be 'imagenet', a \.safetensors or a \.pth file, got imagnet"):
        load_backbone_weights(video.backbone, "imagnet")
    for suffix in ("pth", "safetensors"):
        with pytest.raises(FileNotFoundError, match=f"nowhere.{suffix}"):
            load_backbone_weights(video.backbone, tmp_path / f"nowhere.{suffix}")
