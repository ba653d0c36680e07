// The page: asks the API, keeps the last five minutes, and shows one view at a time. Texts go in as texts and never as HTML.
import { views } from "/page/views.js";

const MINUTES = 5;
const SECONDS = MINUTES * 60;
/** From how many days before its end on a certificate is to be renewed, and at once. */
export const [SOON, VERY_SOON] = [14, 2];

export const state = {
  config: null,              // what /config said last
  ports: [],                 // what /certificates said last
  rules: [],                 // what /rules said last
  total: 0,                  // how many rules there are
  generation: 0,
  ticks: [],                 // {at, pass, deny}
  rates: new Map(),          // "domain\nrule" -> {hits, near, over} per second
  last: null,                // the last tick as it came
  connected: false,
};
export const named = (rule) => `${rule.domain}\n${rule.rule}`;

/** An element with attributes, listeners (`onclick`) and children. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A text of the API's, whose names stand between backticks. */
export const prose = (text) => text.split("`").map((part, at) => at % 2 ? el("code", {}, part) : part);

/** Asks the API. A change says that it is one. */
export async function api(path, { post, change, method } = {}) {
  const headers = {};
  if (post !== undefined) headers["content-type"] = "application/json";
  if (change) headers["x-spillway-change"] = "1";
  const response = await fetch(`/api/v1${path}`, {
    method: method ?? (post === undefined ? "GET" : "POST"), headers, body: post === undefined ? undefined : JSON.stringify(post),
  });
  if (response.status === 401) { await logIn(); return api(path, { post, change, method }); }
  const answer = await response.json();
  // A configuration that is refused is an answer, too.
  if (answer.error) throw new Error([answer.error, answer.hint].filter(Boolean).join(" — "));
  return answer;
}

let asking = null;
function logIn() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("login");
    const [token, wrong] = ["token", "login-wrong"].map((id) => document.getElementById(id));
    dialog.querySelector("form").onsubmit = async (event) => {
      event.preventDefault();
      const response = await fetch("/api/v1/login", { method: "POST", body: JSON.stringify({ token: token.value }) });
      if (!response.ok) { wrong.textContent = "This is not the token."; return; }
      token.value = ""; dialog.close(); asking = null; resolve(); listen();
    };
    dialog.oncancel = (event) => event.preventDefault();
    dialog.showModal();
  });
  return asking;
}

export const whole = (number) => Math.round(number).toLocaleString("en");
/** `1 rule`, `2 rules`. */
export const many = (number, name, names = `${name}s`) => `${whole(number)} ${number === 1 ? name : names}`;
export const rate = (number) => number >= 10 ? whole(number) : number === 0 ? "0" : number.toFixed(1);
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (number >= 1024 && at + 1 < units.length) { number /= 1024; at += 1; }
  return `${number >= 10 || at === 0 ? Math.round(number) : number.toFixed(1)} ${units[at]}`;
}
export function duration(ms) {
  const s = Math.ceil(ms / 1000);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => s >= size);
  if (first < 0) return "0 s";
  let left = s;
  return parts.slice(first, first + 2).map(([size, unit]) => {
    const many = Math.floor(left / size); left -= many * size; return many ? `${many} ${unit}` : "";
  }).filter(Boolean).join(" ");
}
export const clock = (text) => text.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC");

function tick(now) {
  state.last = now;
  const sum = (name) => now.domains.reduce((total, domain) => total + domain[name], 0);
  if (now.interval_seconds > 0) {
    state.ticks.push({ at: Date.parse(now.at) / 1000, pass: sum("ok_per_second"), deny: sum("over_limit_per_second") });
    while (state.ticks.length > SECONDS) state.ticks.shift();
    state.rates = new Map(now.rules.map((rule) => [named(rule),
      { hits: rule.hits_per_second, near: rule.near_limit_per_second, over: rule.over_limit_per_second }]));
    for (const rule of state.rules) {
      const rate = state.rates.get(named(rule));
      if (!rate) continue;
      rule.hits.total += Math.round(rate.hits * now.interval_seconds);
      rule.hits.near_limit += Math.round(rate.near * now.interval_seconds);
      rule.hits.over_limit += Math.round(rate.over * now.interval_seconds);
    }
  }
  if (now.generation !== state.generation) { state.generation = now.generation; Promise.all([loadRules(), counts()]).catch(() => {}); }
  header();
  current?.tick?.();
}

export async function loadRules() {
  const answer = await api("/rules?limit=1000");
  [state.rules, state.total] = [answer.rules, answer.total];
  current?.tick?.();
}

function header() {
  const { last, config, connected, ports } = state;
  const pill = document.getElementById("state");
  const [word, kind] = !connected ? ["no connection", "bad"]
    : last?.store.breakers_open ? ["the store does not answer", "bad"]
    : last?.stale ? ["configuration refused", "warn"]
    : last && !last.ready ? ["not ready", "warn"]
    : ports.some((port) => port.days_left < VERY_SOON) ? ["a certificate expires", "bad"]
    : config?.xds.some((one) => !one.connected) ? ["an xDS server is away", "warn"]
    : config?.shadow_mode ? ["shadow mode: nothing is denied", "warn"] : ["serving", "good"];
  if (pill.textContent !== word) pill.textContent = word;
  pill.className = `pill ${kind}`;
  if (config && last) {
    document.getElementById("facts").textContent =
      `Spillway ${config.version} · configuration ${last.generation} · counters in ${last.store.place}`;
  }
  const banner = document.getElementById("banner");
  const text = !connected && last ? "The connection to Spillway is lost; the numbers below are the last ones. Trying again …"
    : last?.store.breakers_open ? "The store does not answer: each limit's on_store_failure decides." : "";
  banner.hidden = text === "";
  if (banner.textContent !== text) banner.textContent = text;
}

async function counts() {
  const [{ unmatched }, config, { ports }] = await Promise.all([api("/unmatched"), api("/config"), api("/certificates")]);
  [state.config, state.ports] = [config, ports];
  const troubled = config.xds.filter((one) => !one.connected || one.stale || !one.answered).length + ports.filter((one) => one.stale || one.days_left < SOON).length;
  for (const [id, many] of [["unmatched-count", unmatched.length], ["mistakes-count", config.diagnostics.length], ["state-count", troubled]]) {
    const badge = document.getElementById(id);
    badge.hidden = many === 0; badge.textContent = String(many);
  }
  header();
}

let events = null;
function listen() {
  events?.close();
  events = new EventSource("/api/v1/live");
  events.addEventListener("tick", (event) => { state.connected = true; tick(JSON.parse(event.data)); });
  events.onerror = () => {
    state.connected = false; header();
    // A browser gives up where the answer is no stream.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => counts().catch(() => {}).then(listen), 3000);
  };
}

let current = null;
let shows = 0;
async function show() {
  const turn = ++shows;
  const [name, ...rest] = (location.hash.slice(1) || "overview").split("/");
  const view = views[name] ?? views.overview;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${name}`) { link.setAttribute("aria-current", "page"); link.scrollIntoView({ block: "nearest", inline: "nearest" }); }
    else link.removeAttribute("aria-current");
  }
  const main = document.getElementById("main");
  current?.close?.();
  // Each view has a place of its own: one that still waits for an answer when another is asked for writes where nobody looks.
  const place = el("div", { class: "view" });
  main.replaceChildren(place);
  current = null;
  try {
    const shown = await view(place, rest.map(decodeURIComponent));
    if (turn !== shows) { shown?.close?.(); return; }
    current = shown ?? {};
    current.tick?.();
  } catch (error) {
    if (turn !== shows) return;
    place.replaceChildren(el("section", { class: "sheet" }, el("p", { class: "wrong", role: "alert" }, error.message)));
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} · Spillway`;
}

addEventListener("hashchange", () => { show(); document.getElementById("main").focus({ preventScroll: true }); scrollTo(0, 0); });
await Promise.all([counts(), loadRules()]).catch(() => {});
listen();
await show();
setInterval(() => counts().catch(() => {}), 5000);
