// Records of shown frames for the sender's report: vidcodec/records.py's columns, as differences, deflated, base64.

const TICKS_PER_MS = 10;

// frames: [{number, receivedMs, decodedMs, shownMs}] to the text that `unpack_shown` reads.
export async function packShown(frames) {
  if (!frames.length) return "";
  const ticks = (ms) => Math.round(ms * TICKS_PER_MS);
  const rows = frames.map(({ number, receivedMs, decodedMs, shownMs }) => [
    number, ticks(receivedMs), ticks(decodedMs) - ticks(receivedMs), ticks(shownMs) - ticks(decodedMs), null, null, null,
  ]);
  const columns = rows[0].map((_, index) => {
    const values = rows.map((row) => row[index]);
    return index < 2 ? values.map((value, i) => (i ? value - values[i - 1] : value)) : values;
  });
  const stream = new Blob([JSON.stringify(columns)]).stream().pipeThrough(new CompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
}

// The value below which `share` of the values lie.
export function percentile(values, share) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
