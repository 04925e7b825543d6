"""Decoding a recorded stream: packets in order, some lost, each predicted from whichever earlier frame it names."""

from collections import OrderedDict

from vidcodec.codec import Codec, Frame, State
from vidcodec.errors import MissingReference
from vidcodec.packet import MAX_DISTANCE, Packet


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
        """Decode the next packet.

        Raises:
            MissingReference: its reference was lost.
            DamagedPacket: it is no packet of this codec.
        """
        header = packet.header
        if header.reference is None:
            state = self._codec.blank_state()
        elif header.reference in self._states:
            state = self._states[header.reference]
        else:
            raise MissingReference(f"frame {header.number} refers to frame {header.reference}, which was lost")
        self.picture, after = self._codec.decode(packet, state)
        self._states.pop(header.number, None)
        self._states[header.number] = after
        while len(self._states) > MAX_DISTANCE:
            self._states.popitem(last=False)
        return self.picture
