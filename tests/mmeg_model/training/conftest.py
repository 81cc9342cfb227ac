from pathlib import Path

import pytest
import torch

from mmeg_model.corpora.synthetic import write_corpus


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small are slower on several threads, and far slower where others use the cores too."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def synthetic_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpus `synthetic`: 32 videos of 1 s, 8 speakers."""
    data = tmp_path_factory.mktemp("data")
    write_corpus(data / "synthetic", num_videos=32, seconds=1.0)
    return data


@pytest.fixture(scope="session")
def clip_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")
