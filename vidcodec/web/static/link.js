// The page's connection: token -> session cookie -> WebSocket, and again when it breaks.
//
// The token comes behind # in the address, is posted once and taken out of the address bar; afterwards a cookie that
// no script can read stands for it, so that a reload needs no token.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

export function tokenOf(text) {
  const match = /[#?&]token=([^&\s]+)/.exec(text);
  try {
    return match ? decodeURIComponent(match[1]) : text.trim();
  } catch {
    return match[1]; // cut in a wrong place: no token, which the server says
  }
}

// True for the right token, false for a wrong one; throws when the server cannot say.
export async function logIn(token) {
  const answer = await fetch("/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  if (answer.status === 429) throw new Error("too many wrong tokens: wait a minute");
  return answer.status === 204;
}

// Whether the cookie of an earlier visit still stands for the token, and whether as many pages as may be are open.
export async function askSession() {
  return (await fetch("/session")).json();
}

export class Link {
  // handlers: onText(message), onFrame(ArrayBuffer), onState("connecting" | "live" | "lost" | "full"), onRefused()
  constructor(handlers) {
    this.handlers = handlers;
    this.socket = null;
    this.waitMs = FIRST_WAIT_MS;
    this.timer = 0;
    // A browser may keep a page that was left, with its socket, for a reader who goes back: nobody looks at it till then.
    addEventListener("pagehide", () => this.leave());
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.open();
    });
  }

  open() {
    this.handlers.onState("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/pixels`);
    let opened = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      opened = true;
      this.waitMs = FIRST_WAIT_MS;
      this.handlers.onState("live");
    };
    socket.onmessage = (event) => {
      if (typeof event.data === "string") this.handlers.onText(JSON.parse(event.data));
      else this.handlers.onFrame(event.data);
    };
    socket.onclose = () => this.closed(socket, opened);
    this.socket = socket;
  }

  leave() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  async closed(socket, opened) {
    if (socket !== this.socket) return; // the page was left
    this.handlers.onState("lost");
    // A handshake that fails gives no reason; it is asked for by plain HTTP.
    const session = opened ? null : await askSession().catch(() => null);
    if (session?.known === false) {
      this.handlers.onRefused();
      return;
    }
    if (socket !== this.socket) return; // it was left while that was asked
    if (session?.full) this.handlers.onState("full");
    this.timer = setTimeout(() => this.open(), this.waitMs);
    this.waitMs = Math.min(LONGEST_WAIT_MS, 2 * this.waitMs);
  }

  send(message) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
