"""Frames under a rate control where time does not press: in files, each may be coded several times.

A call sends what the encoder makes of a frame. A file can wait, so a frame that came out otherwise than foreseen is
coded again at the quality that suits its true size, and once more while the second that it ends strays from the rate:
between a quality that gave too much and one that gave too little, until one fits or none is left.
"""

from vidcodec.codec import Codec, Frame, State
from vidcodec.packet import Packet
from vidcodec.rate import RateControl

TRIES = 4


def encode_held(codec: Codec, frame: Frame, state: State, control: RateControl) -> tuple[Packet, State, RateControl]:
    """Encode a frame at the quality that holds the rate of `control`, in at most `TRIES` + 1 attempts.

    Returns its packet, the state after it and the control after it.
    """
    packet, after = codec.encode(frame, state, control.quality)
    if packet.header.distance == 0:
        return packet, after, control.after(control.quality, len(packet), intra=True)
    tried: dict[int, int] = {}
    other = control.again(control.quality, len(packet))
    for _ in range(TRIES):
        if other is not None:
            packet, after = codec.encode(frame, state, other)
        tried[packet.header.quality] = len(packet)
        other = control.within(tried)
        if other is None or other in tried:
            break
    return packet, after, control.after(packet.header.quality, len(packet))
