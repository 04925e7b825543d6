// The call's controls, built from what it offers. A change is sent at once; what the call then stands at comes back and
// is shown, on every open page.

const SEND_EVERY_MS = 100;

let unique = 0;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// At most one message in SEND_EVERY_MS while a slider moves, and always the last value.
function paced(send) {
  let timer = null;
  let latest;
  return (value) => {
    latest = value;
    if (timer !== null) return;
    send(value);
    timer = setTimeout(() => {
      timer = null;
      if (latest !== value) send(latest);
    }, SEND_EVERY_MS);
  };
}

function number(control, send) {
  const id = `control-${unique++}`;
  const range = { min: control.low, max: control.high, step: control.step };
  const slider = element("input", { type: "range", id, name: control.name, ...range });
  const entry = element("input", { type: "number", ...range });
  entry.placeholder = "free";
  entry.setAttribute("aria-label", `${control.label}${control.unit ? ` in ${control.unit}` : ""}`);
  const unit = element("span", { className: "unit", textContent: control.unit });
  const label = element("label", { htmlFor: id, textContent: control.label });
  const field = element("div", { className: "field number" }, element("span", {}, label),
    element("div", { className: "slider" }, slider, entry, unit));
  const sendPaced = paced(send);
  let written = ""; // what the entry shows when nobody types into it
  const say = (text) => slider.setAttribute("aria-valuetext", text ? `${text} ${control.unit}`.trim() : "not held");
  slider.addEventListener("input", () => {
    entry.value = written = slider.value;
    say(written);
    field.classList.remove("off");
    sendPaced(Number(slider.value));
  });
  entry.addEventListener("change", () => {
    if (entry.value === "" || !entry.checkValidity()) {
      entry.reportValidity();
      return;
    }
    slider.value = written = entry.value;
    send(Number(entry.value));
  });
  // What was typed and could not be sent must not stay as if the call stood at it.
  entry.addEventListener("blur", () => { entry.value = written; });
  const set = (value) => {
    const used = typeof value === "number";
    field.classList.toggle("off", !used);
    const text = used ? String(value) : "";
    say(text);
    if (document.activeElement !== entry || entry.value === written) entry.value = text;
    written = text;
    if (used && !slider.matches(":active")) slider.value = value;
  };
  // What is not held moves by itself: the slider follows what is measured, so that taking it over does not jump.
  const follow = (value) => {
    if (field.classList.contains("off") && typeof value === "number" && !slider.matches(":active")) slider.value = value;
  };
  return { field, set, follow };
}

function choice(control, send) {
  const id = `control-${unique++}`;
  const options = control.options.map((value) => element("option", { value, textContent: value }));
  const select = element("select", { id, name: control.name }, ...options);
  select.addEventListener("change", () => send(select.value));
  const label = element("label", { htmlFor: id, textContent: control.label });
  const set = (value) => { if (value !== undefined && value !== null) select.value = String(value); };
  return { field: element("div", { className: "field choice" }, element("span", {}, label), select), set };
}

function toggle(control, send) {
  const button = element("button", { type: "button", name: control.name, textContent: control.label });
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => send(button.getAttribute("aria-pressed") !== "true"));
  const set = (value) => button.setAttribute("aria-pressed", String(Boolean(value)));
  return { field: button, set };
}

function action(control, send) {
  const button = element("button", { type: "button", name: control.name, textContent: control.label });
  button.addEventListener("click", () => send(null));
  return { field: button, set: () => {} };
}

const KINDS = { number, choice, switch: toggle, action };
const FOLLOWED = { bitrate: "payload_kbps", quality: "quality" };

export class Controls {
  // places: where each kind goes, before what stands there already; refused: where refusals are said.
  constructor(places, refused, send) {
    this.places = places;
    this.refused = refused;
    this.send = send;
    this.fields = new Map();
    this.offered = "";
    this.enabled = true;
    this.left = null; // what had the focus when it was disabled, which takes the focus away
  }

  offer(controls) {
    this.refused.textContent = ""; // it was of what was offered before
    const offered = JSON.stringify(controls);
    if (offered === this.offered) return; // the same call: what is made anew would lose the focus
    this.offered = offered;
    for (const { field } of this.fields.values()) field.remove();
    this.fields.clear();
    for (const control of [...controls].reverse()) {
      const made = KINDS[control.kind](control, (value) => {
        this.refused.textContent = "";
        this.send({ type: "control", name: control.name, value });
      });
      this.fields.set(control.name, made);
      this.places[control.kind].prepend(made.field);
    }
    this.enable(this.enabled);
  }

  set(settings) {
    for (const [name, { set }] of this.fields) set(settings[name]);
  }

  setFigures(figures) {
    for (const [name, figure] of Object.entries(FOLLOWED)) this.fields.get(name)?.follow(figures[figure]);
  }

  // Whether they do anything now. Without a call or a connection they are dimmed and take no input.
  enable(on) {
    this.enabled = on;
    const focused = document.activeElement;
    for (const { field } of this.fields.values()) {
      field.classList.toggle("dead", !on);
      for (const input of [field, ...field.querySelectorAll("input, select")]) if ("disabled" in input) input.disabled = !on;
      if (!on && field.contains(focused)) this.left = focused;
    }
    if (!on) return;
    if (document.activeElement === document.body) this.left?.focus({ preventScroll: true });
    this.left = null;
  }

  refuse(reason) {
    this.refused.textContent = `Not done: ${reason}`;
  }
}
