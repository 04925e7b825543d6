"""Real-time neural video for calls: frames in, packets out.

    from vidcodec import Packet, load_codec

    codec = load_codec("seed")
    packet, state = codec.encode(frame, codec.blank_state(), quality=4)
    picture, state = codec.decode(Packet.from_bytes(packet.to_bytes()), codec.blank_state())

Importing this package is cheap: torch is imported by `load_codec`.
"""

from vidcodec.codec import FRAME_SIZE, Codec, CodecInfo, State, load_codec
from vidcodec.errors import DamagedPacket, InputError, MissingReference, PeerError, UsageError, VidcodecError
from vidcodec.packet import Header, Packet

__version__ = "0.1.0"

__all__ = [
    "FRAME_SIZE",
    "Codec",
    "CodecInfo",
    "DamagedPacket",
    "Header",
    "InputError",
    "MissingReference",
    "Packet",
    "PeerError",
    "State",
    "UsageError",
    "VidcodecError",
    "load_codec",
]
