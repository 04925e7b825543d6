"""Codecs whose frames stand alone: `seed` (the source paper's autoencoder) and `gdn` (after Balle 2016).

Both quantise their latents with the step of the quality and code them with one static integer table for each channel
and quality. No packet refers to another, so any state decodes any packet.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidcodec.codec import FRAME_SIZE, Codec, CodecInfo, Frame, State, next_header
from vidcodec.devices import choose_device, limit_threads
from vidcodec.entropy import SymbolDecoder, SymbolEncoder, Tables
from vidcodec.errors import DamagedPacket, InputError
from vidcodec.packet import Header, Packet, checksum
from vidcodec.weights import Weights, load_weights

LOWEST_SYMBOL = -96
STILL_MODELS = ("seed", "gdn")


class StillCodec(Codec):
    """A still-picture autoencoder as a codec.

    Args:
        model: one of `STILL_MODELS`.
        weights: arrays `net.*` (the network), `steps` `[Q]` float32 and `tables` `[Q * C, symbols]` integers.
        device, precision: as `choose_device` returned them.

    Raises:
        InputError: the weights are of another model.
    """

    def __init__(self, model: str, weights: Weights, device: torch.device, precision: torch.dtype) -> None:
        self._net = import_module(f"vidcodec.networks.{model}").build().eval()
        arrays = weights.arrays
        try:
            state = {k[4:]: torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith("net.")}
            self._net.load_state_dict(state)
            self._steps: list[float] = [float(step) for step in arrays["steps"]]
            self._tables = Tables(arrays["tables"].astype(np.int64), LOWEST_SYMBOL)
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"weights {weights.path} are not those of model {model!r}") from error
        self._channels = len(self._tables) // len(self._steps)
        self._device, self._dtype = device, precision
        self._net.to(device=device, dtype=precision)
        with torch.inference_mode():
            self._side = self._net.analysis(torch.zeros(1, 3, FRAME_SIZE, FRAME_SIZE).to(device, precision)).shape[-1]
        name = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[precision]
        self.info = CodecInfo(model, weights.sha256, device.type, name, len(self._steps))

    @classmethod
    def load(
        cls, model: str, device: str, precision: str, threads: int | None, weights: Path | None = None
    ) -> "StillCodec":
        """Load by name; see `vidcodec.codec.load_codec`."""
        chosen = choose_device(device, precision)
        limit_threads(threads)
        return cls(model, load_weights(model, weights), *chosen)

    def encode(self, frame: Frame, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        header = next_header(frame, state, quality, self.info, number)
        header = Header(header.number, 0, quality)
        y = self.latents(frame)
        rows = self._rows(quality)
        symbols = self._tables.clip(np.rint(y / self._steps[quality]), rows)
        header = Header(header.number, 0, quality, checksum(header.prefix(), symbols.astype("<i2").tobytes()))
        coder = SymbolEncoder()
        coder.put(self._tables, symbols, rows)
        return Packet(header, coder.finish()), self._state(header, symbols)

    def decode(self, packet: Packet, state: State) -> tuple[Frame, State]:
        after = self._state(packet.header, self._symbols(packet))
        return after.picture, after

    def part_bits(self, packet: Packet) -> dict[str, float]:
        bits = self._tables.bits(self._symbols(packet), self._rows(packet.header.quality))
        return {"header": 8.0 * len(packet.header), "y": bits}

    def _symbols(self, packet: Packet) -> NDArray[np.int32]:
        """The whole numbers that a packet says. Raises DamagedPacket."""
        header = packet.header
        if header.distance or header.quality >= self.info.qualities:
            raise DamagedPacket(f"frame {header.number}: no packet of model {self.info.model_id!r}")
        symbols = SymbolDecoder(packet.body).take(self._tables, self._rows(header.quality)).astype(np.int32)
        if checksum(header.prefix(), symbols.astype("<i2").tobytes()) != header.checksum:
            raise DamagedPacket(f"packet {header.number} is damaged: its checksum does not match")
        return symbols

    def latents(self, frame: Frame) -> NDArray[np.float32]:
        """Latents before quantisation, `[C, side, side]` float32."""
        with torch.inference_mode():
            return self._net.analysis(self._tensor(frame))[0].float().cpu().numpy()

    def picture(self, y_hat: NDArray[np.float32]) -> Frame:
        """The picture of latents `[C, side, side]`, quantised or not."""
        with torch.inference_mode():
            y = torch.from_numpy(np.ascontiguousarray(y_hat, np.float32))[None].to(self._device, self._dtype)
            x_hat = self._net.synthesis(y)[0].float().clamp_(0, 1).mul_(255).round_().to(torch.uint8)
            return np.ascontiguousarray(x_hat.permute(1, 2, 0).cpu().numpy())

    def _tensor(self, frame: Frame) -> Tensor:
        x = torch.from_numpy(np.ascontiguousarray(frame)).to(self._device)
        x = x.permute(2, 0, 1)[None].to(self._dtype) / 255
        return x.contiguous(memory_format=torch.channels_last)

    def _rows(self, quality: int) -> NDArray[np.int64]:
        first = quality * self._channels
        rows = np.arange(first, first + self._channels)
        return np.broadcast_to(rows[:, None, None], (self._channels, self._side, self._side))

    def _state(self, header: Header, symbols: NDArray[np.int32]) -> State:
        return State(header.number, self.picture(symbols * np.float32(self._steps[header.quality])))
