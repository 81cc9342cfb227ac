"""The networks by name, and how their sizes are written down."""

import types
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from torch import nn

from mmeg_model.nearest import unknown
from mmeg_model.networks.compact import CompactConfig, CompactNetwork
from mmeg_model.networks.paper import PaperConfig, PaperNetwork
from mmeg_model.plain_values import from_plain


class Preset(NamedTuple):
    """A network and the frozen dataclass that holds its sizes."""

    config: type
    network: type[nn.Module]


PRESETS: Final[Mapping[str, Preset]] = types.MappingProxyType(
    {"compact": Preset(CompactConfig, CompactNetwork), "paper": Preset(PaperConfig, PaperNetwork)}
)


def build(preset: str, sizes: Mapping[str, Any] | None = None) -> nn.Module:
    """Make a network with fresh weights.

    Args:
        preset: a name in `PRESETS`.
        sizes: its config as plain values (as `complete_sizes`, JSON or TOML give it); what is not named keeps
            the preset's value.

    Raises:
        ValueError: if the preset or a name in sizes is unknown (the message says which names are near), or a size is
            of another type or outside its range.
    """
    config, network = _preset(preset)
    return network(from_plain(config, sizes or {}, table="sizes"))


def complete_sizes(preset: str, sizes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All sizes of a network as plain values, as a bundle stores them; arguments and errors as of `build`."""
    return asdict(from_plain(_preset(preset).config, sizes or {}, table="sizes"))


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise ValueError(unknown("preset", name, PRESETS))
    return PRESETS[name]
