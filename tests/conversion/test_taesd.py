"""TAESD's two files become an AutoencoderTiny, and back."""

import paddle
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ppdiffusers import AutoencoderTiny, convert_original, convert_to_original
from ppdiffusers.core.errors import SourceError, WeightsError
from tests.support.parity import assert_close, noise, randomize


class Clamp(nn.Module):
    def forward(self, x):
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    """The original's residual block, whose skip connection has no weights."""

    def __init__(self, width):
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])

    def forward(self, x):
        return torch.relu(self.conv(x) + x)


def encoder(latent_channels, width=6, blocks=(1, 3, 2)):
    layers = [nn.Conv2d(3, width, 3, padding=1)]
    for level, count in enumerate(blocks):
        layers += [nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)] if level else []
        layers += [Block(width) for _ in range(count)]
    return nn.Sequential(*layers, nn.Conv2d(width, latent_channels, 3, padding=1))


def decoder(latent_channels, width=8, blocks=(3, 2, 1)):
    layers = [Clamp(), nn.Conv2d(latent_channels, width, 3, padding=1), nn.ReLU()]
    for level, count in enumerate(blocks):
        layers += [Block(width) for _ in range(count)]
        if level < len(blocks) - 1:
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1))


@pytest.fixture(params=[("taesd", 4, (1, 3, 2), (3, 2, 1)), ("taef1", 16, (1, 2), (2, 1)), ("taesd", 4, (2,), (1,))])
def original(request, tmp_path):
    """(folder, encoder, decoder)."""
    name, channels, down, up = request.param
    halves = encoder(channels, blocks=down), decoder(channels, blocks=up)
    folder = tmp_path / "original"
    folder.mkdir()
    for part, half in zip(("encoder", "decoder"), halves):
        randomize(half)
        torch.save(half.state_dict(), folder / f"{name}_{part}.pth")
    return folder, *halves


def test_conversion(original, tmp_path):
    folder, encode, decode = original
    report = convert_original(folder, tmp_path / "out", "taesd", verify=True, progress=False)
    ours = AutoencoderTiny.from_pretrained(report.output, subfolder="vae")
    image, latents = noise((2, 3, 32, 40)), 2 * noise((2, ours.config.latent_channels, 5, 7), "latents")
    with torch.no_grad():
        encoded, decoded = encode(torch.from_numpy(image) / 2 + 0.5), decode(torch.from_numpy(latents)) * 2 - 1
    assert_close(ours.encode(paddle.to_tensor(image)).latents, encoded)
    assert_close(ours.decode(paddle.to_tensor(latents)).sample, decoded)


@pytest.mark.parametrize("to", ["paddle", "diffusers"])
def test_back_to_the_original(original, tmp_path, to):
    folder, *halves = original
    convert_original(folder, tmp_path / "folder", "taesd", to=to, progress=False)
    report = convert_to_original(tmp_path / "folder", tmp_path / "back", "taesd", progress=False)
    for part, half in zip(("encoder", "decoder"), halves):
        back, state = load_file(report.output / f"{part}.safetensors"), half.state_dict()
        assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)


def test_bad_files(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    torch.save(encoder(4).state_dict(), source / "taesd_encoder.pth")
    with pytest.raises(SourceError, match="decoder: there is no"):
        convert_original(source, tmp_path / "out", "taesd", progress=False)
    torch.save({"weight": torch.zeros(2)}, source / "taesd_decoder.pth")
    with pytest.raises(WeightsError, match=r"0 convolution\(s\) between its blocks"):
        convert_original(source, tmp_path / "out", "taesd", progress=False)
    # the encoder's file twice
    torch.save(encoder(4).state_dict(), source / "taesd_decoder.pth")
    with pytest.raises(WeightsError, match="missing: decoder/|unexpected: decoder/"):
        convert_original(source, tmp_path / "out", "taesd", progress=False)
    assert not (tmp_path / "out").exists()
