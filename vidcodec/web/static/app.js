// The page: joins the connection with pictures, charts, numbers and controls.

import { Charts } from "/charts.js";
import { Controls } from "/controls.js";
import { Link, askSession, logIn, tokenOf } from "/link.js";
import { Numbers } from "/numbers.js";
import { Pictures } from "/pictures.js";
import { Seen } from "/seen.js";

const STATES = {
  connecting: "connecting",
  waiting: "waiting for the call",
  live: "live",
  lost: "connection lost, trying again",
  full: "too many pages are open, trying again",
};

const NUMBERS_EVERY = 3; // figures: tables that change faster cannot be read, and each time they are laid out anew
const UNSEEN_EVERY = 15; // figures: tables out of sight, which may be read aloud or printed

const byId = (id) => document.getElementById(id);
const status = byId("status");

function setState(state, text = STATES[state]) {
  status.dataset.state = state;
  if (status.textContent !== text) status.textContent = text;
}

function start() {
  byId("login").hidden = true;
  byId("call").hidden = false;
  const pictures = new Pictures(byId("pictures"), () => link.send({ type: "drawn" }));
  const charts = new Charts(byId("charts"));
  const numbers = new Numbers(byId("numbers"));
  const numbersSeen = new Seen(() => newest && numbers.setFigures(newest));
  numbersSeen.watch(byId("numbers"));
  const [sliders, choices, buttons] = [byId("sliders"), byId("choices"), byId("buttons")];
  const places = { number: sliders, choice: choices, switch: buttons, action: buttons };
  const controls = new Controls(places, byId("refused"), (message) => link.send(message));

  // A call that is over stays on the page until the next one begins; the connection is kept up for it.
  let over = false;
  let begun = false;
  let settings = {};
  let figuresCount = 0;
  let newest = null;

  function showState() {
    if (over) return;
    controls.enable(begun);
    if (begun) setState("live", settings.pause ? "paused" : STATES.live);
    else setState("waiting");
  }

  const texts = {
    hello({ title, panels, controls: offered, settings: stand, series, rows }) {
      byId("title").textContent = title;
      document.title = `${title} – vidcodec`;
      pictures.setPanels(panels);
      controls.offer(offered);
      charts.reset(series, rows);
      over = false;
      begun = rows.length > 0;
      figuresCount = 0;
      newest = null;
      texts.settings({ settings: stand });
    },
    figures({ figures, row }) {
      pictures.setFigures(figures);
      controls.setFigures(figures);
      const first = newest === null;
      newest = figures;
      const every = numbersSeen.has(byId("numbers")) ? NUMBERS_EVERY : UNSEEN_EVERY;
      if (first || figuresCount % every === 0) numbers.setFigures(figures);
      figuresCount += 1;
      if (!begun) {
        begun = true;
        showState();
      }
      if (row[0] !== charts.rows.at(-1)?.[0]) charts.add(row);
    },
    settings({ settings: stand }) {
      settings = stand;
      controls.set(settings);
      showState();
    },
    refused({ reason, settings: stand }) {
      controls.refuse(reason);
      if (stand) controls.set(stand);
    },
    end({ reason }) {
      over = true;
      setState("over", reason);
      controls.enable(false);
      if (newest) numbers.setFigures(newest);
      charts.redraw();
    },
  };

  const link = new Link({
    onText: (message) => texts[message.type]?.(message),
    onFrame: (buffer) => pictures.push(buffer),
    onState: (state) => {
      if (over || state === "live") return; // what the page says first tells more than that it is there
      controls.enable(false);
      setState(state);
    },
    onRefused: () => askForToken("The session is not known here any more."),
  });
  link.open();

  byId("scaling").addEventListener("change", (event) => pictures.setScaling(event.target.value));
  byId("snapshot").addEventListener("click", async () => {
    const taken = await pictures.snapshot();
    byId("refused").textContent = "";
    if (!taken) return controls.refuse("there is no picture yet");
    const anchor = document.createElement("a");
    anchor.href = URL.createObjectURL(taken.blob);
    anchor.download = taken.name;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 10_000);
  });
}

function askForToken(reason = "") {
  byId("call").hidden = true;
  byId("login").hidden = false;
  byId("login-error").textContent = reason;
  setState("lost", "token needed");
  byId("token").focus();
}

async function enter(token) {
  try {
    if (await logIn(token)) {
      history.replaceState(null, "", location.pathname);
      // A page that was refused before starts afresh: its old parts are bound to the old connection.
      if (byId("pictures").childElementCount) location.reload();
      else start();
    } else askForToken("This token was refused.");
  } catch (error) {
    askForToken(error.message);
  }
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(tokenOf(byId("token").value));
});

addEventListener("hashchange", () => enter(tokenOf(location.hash)));

if (location.hash.includes("token=")) await enter(tokenOf(location.hash));
else if ((await askSession()).known) start();
else askForToken();
