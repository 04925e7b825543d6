// The packet: one frame on the wire (docs/bitstream.md). Mirrors vidcodec/packet.py.

export const NUMBERS = 1024;
const HEADER_BYTES = 4;
const MAX_DISTANCE = 63;
const MAX_PACKET_BYTES = 1 << 16;
const CHECKSUM_MASK = (1 << 15) - 1;

// The bytes are no frame; the decoder stays usable.
export class DamagedPacket extends Error {}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

// CRC-32 (ISO 3309) of bytes, going on from `start`.
export function crc32(bytes, start = 0) {
  let value = ~start;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

// bytes -> {number, distance, quality, checksum, body}; distance 0 is an intra frame.
export function parsePacket(bytes) {
  if (bytes.length > MAX_PACKET_BYTES || bytes.length < HEADER_BYTES) throw new DamagedPacket("no packet has this length");
  const bits = ((bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3]) >>> 0;
  const near = (bits >>> 21) & 1;
  if (!near && (bytes.length === HEADER_BYTES || bytes[4] === 1 || bytes[4] > MAX_DISTANCE)) {
    throw new DamagedPacket("packet header without a valid distance");
  }
  return {
    number: bits >>> 22,
    distance: near ? 1 : bytes[4],
    quality: (bits >>> 15) & 63,
    checksum: bits & CHECKSUM_MASK,
    body: bytes.subarray(near ? HEADER_BYTES : HEADER_BYTES + 1),
  };
}

// Of the header without its checksum and the symbols (Int16Array in coding order).
export function checksum({ number, distance, quality }, symbols) {
  const bits = (number << 14) | (distance << 8) | (quality << 2);
  const prefix = crc32([(bits >>> 16) & 255, (bits >>> 8) & 255, bits & 255]);
  return crc32(new Uint8Array(symbols.buffer, symbols.byteOffset, symbols.byteLength), prefix) & CHECKSUM_MASK;
}

// The full frame count nearest to `near` that is `number` modulo 1024, never below 0.
export function unwrap(number, near) {
  const half = NUMBERS / 2;
  const step = (((number - near + half) % NUMBERS) + NUMBERS) % NUMBERS;
  const count = near + step - half;
  return count >= 0 ? count : count + NUMBERS;
}
