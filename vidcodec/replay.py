"""Decoding a recorded stream: packets in order, some lost, each predicted from whichever earlier frame it names."""

from collections import OrderedDict
from dataclasses import dataclass

from vidcodec.codec import Codec, Frame, State
from vidcodec.errors import MissingReference
from vidcodec.packet import MAX_DISTANCE, Packet


@dataclass(frozen=True, slots=True)
class Step:
    """A packet that was decoded.

    Attributes:
        picture: what it shows.
        reference: the state that it was decoded from; None for a packet that needs none.
        state: the state that it left.
    """

    picture: Frame
    reference: State | None
    state: State


class Replay:
    """Decodes packets in the order of their numbers.

    A sender that heard of a loss predicts from an older frame than the last one, so the states that the newest frames
    left are kept, as far back as a packet can refer.

    Attributes:
        picture: the newest picture, grey before the first; what stands on the screen while frames are lost.
    """

    def __init__(self, codec: Codec) -> None:
        self.picture: Frame = codec.blank_state().picture
        self._codec = codec
        self._states: OrderedDict[int, State] = OrderedDict()

    def decode(self, packet: Packet) -> Frame:
        """The picture of the next packet; raises as `step`."""
        return self.step(packet).picture

    def step(self, packet: Packet) -> Step:
        """Decode the next packet.

        Raises:
            MissingReference: its reference was lost.
            DamagedPacket: it is no packet of this codec.
        """
        header = packet.header
        reference = None if header.reference is None else self._states.get(header.reference)
        if header.reference is not None and reference is None:
            raise MissingReference(f"frame {header.number} refers to frame {header.reference}, which was lost")
        self.picture, after = self._codec.decode(packet, reference or self._codec.blank_state())
        self._states.pop(header.number, None)
        self._states[header.number] = after
        while len(self._states) > MAX_DISTANCE:
            self._states.popitem(last=False)
        return Step(self.picture, reference, after)
