"""Frames under a rate control where time does not press: in files, each may be coded several times.

A call sends what the encoder makes of a frame. A file can wait, so a frame that came out otherwise than foreseen is
coded again at the quality that suits its true size, and once more while the second that it ends strays from the rate:
between a quality that gave too much and one that gave too little, until one fits or none is left. Where the lowest
quality is still too much, the frame is left out: its packet says that the last picture stands.
"""

from vidcodec.codec import Codec, Frame, State
from vidcodec.packet import Packet
from vidcodec.rate import RateControl

TRIES = 4


def encode_held(
    codec: Codec, frame: Frame, state: State, control: RateControl, number: int | None = None
) -> tuple[Packet, State, RateControl]:
    """Encode a frame at the quality that holds the rate of `control`, in at most `TRIES` + 1 attempts. `number`: that
    of a frame without a reference, whose blank state tells none.

    Returns its packet, the state after it and the control after it.
    """
    packet, after = codec.encode(frame, state, control.quality, number)
    if packet.header.distance == 0:
        return packet, after, control.after(control.quality, len(packet), intra=True)
    tried: dict[int, int] = {}
    quality, other = control.quality, control.again(control.quality, len(packet))
    for _ in range(TRIES):
        if other is not None:
            quality = other
            packet, after = codec.encode(frame, state, quality)
        tried[quality] = len(packet)
        other = control.within(tried)
        if other is None or other in tried:
            break
    if control.too_much(quality, len(packet)):
        idle, same = codec.encode(state.picture, state, control.lowest)
        if len(idle) < len(packet):
            return idle, same, control.left_out(len(idle))
    return packet, after, control.after(quality, len(packet))
