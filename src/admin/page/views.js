// What each view shows. A view fills `main` and may return {tick, close}.
import { SOON, VERY_SOON, api, bytes, clock, duration, el, loadRules, many, named, prose, rate, state, whole } from "/page/app.js";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const sheet = (title, note, ...content) => el("section", { class: "sheet" },
  el("div", { class: "head" }, el("h2", {}, title), note ? el("p", { class: "note" }, note) : null), ...content);
const title = (text, note) => el("div", { class: "head" }, el("h1", {}, text), note ? el("p", { class: "note" }, note) : null);
const cell = (...content) => el("td", {}, ...content);
const number = (text) => el("td", { class: "number" }, text);
const code = (answer) => el("span", { class: `tag ${answer === "OK" ? "ok" : "over"}` }, answer);
const wrong = (error) => el("p", { class: "wrong", role: "alert" }, prose(error.message));
const empty = (text) => el("p", { class: "empty" }, text);
const pairs = (list) => el("dl", { class: "pairs" }, list.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
const table = (heads, rows, caption) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, el("table", {},
  el("thead", {}, el("tr", {}, heads.map(([name, kind]) => el("th", { class: kind, scope: "col" }, name)))), el("tbody", {}, rows)));

function plot(parent) {
  const holder = el("div", { class: "plot", role: "img", "aria-label": "Requests per second of the last five minutes; the numbers are beside it" });
  parent.append(holder);
  let chart = null;
  const make = () => {
    chart?.destroy();
    const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
    const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const line = (label, name) => ({ label, stroke: color(name), width: 2, fill: `${color(name)}22`, points: { show: false }, value: (_, v) => v === null ? "–" : rate(v) });
    chart = new uPlot({
      width: Math.max(200, holder.clientWidth), height: holder.clientHeight, legend: { show: false }, cursor: { points: { size: 7 }, y: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1) * 1.15] } },
      axes: [{ ...axis, space: 90, size: 26, values: (_, ticks) => ticks.map((tick) => tick % 60 === 0 ? time.format(tick * 1000) : "") }, { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => rate(tick)) }],
      series: [{}, line("passed", "pass"), line("denied", "deny")],
      hooks: { setCursor: [(u) => read(u.cursor.idx)] },
    }, [[], [], []], holder);
  };
  const [pass, deny, at] = [el("b", {}, "0"), el("b", {}, "0"), el("span", {}, "now")];
  const mark = (name) => { const i = el("i"); i.style.background = `var(--${name})`; return i; };
  parent.append(el("p", { class: "legend" }, el("span", {}, mark("pass"), "passed ", pass, "/s"), el("span", {}, mark("deny"), "denied ", deny, "/s"), at));
  const read = (index) => {
    const tick = state.ticks[index ?? state.ticks.length - 1];
    if (!tick) return;
    pass.textContent = rate(tick.pass); deny.textContent = rate(tick.deny);
    at.textContent = index === null || index === undefined ? "now" : new Date(tick.at * 1000).toLocaleTimeString("en-GB");
  };
  make();
  const sized = new ResizeObserver(() => chart.setSize({ width: Math.max(200, holder.clientWidth), height: holder.clientHeight }));
  sized.observe(holder);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", make);
  return {
    tick() {
      // Five minutes from the start on, so that the line moves and the axis does not.
      const last = state.ticks.at(-1)?.at ?? Date.now() / 1000;
      chart.setData([state.ticks.map((t) => t.at), state.ticks.map((t) => t.pass), state.ticks.map((t) => t.deny)], false);
      chart.setScale("x", { min: last - 300, max: last });
      chart.setScale("y", { min: null, max: null });
      if (chart.cursor.idx === null || chart.cursor.idx === undefined) read(null);
    },
    close() { sized.disconnect(); dark.removeEventListener("change", make); chart.destroy(); },
  };
}

const limits = (rule) => rule.limits.length === 0 ? "unlimited" : rule.limits.map((limit) => `${limit.requests ?? limit.requests_from} per ${limit.window}`).join(", ");
const place = (one) => `${one.file}:${one.line}`;
/** The same without the directory, which a pointer shows. */
const shortPlace = (one) => el("span", { title: place(one) }, `${one.file.split("/").at(-1)}:${one.line}`);

async function overview(main) {
  const tile = (name) => { const [value, small] = [el("span", {}, "–"), el("small", {}, "")]; return { element: el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, value, small)), value, small }; };
  const tiles = Object.fromEntries(["Requests/s", "Denied/s", "Counters", "Connections"].map((name) => [name, tile(name)]));
  const sheetOfPlot = sheet("Traffic", "last five minutes");
  const busiest = el("div");
  const denials = el("div");
  const heavy = el("div");
  main.append(el("h1", {}, "Overview"), el("dl", { class: "tiles" }, Object.values(tiles).map((one) => one.element)), sheetOfPlot,
    el("div", { class: "split" }, sheet("Busiest rules", "now", busiest), sheet("Busiest keys", "estimated hits of the last one to two minutes", heavy)),
    sheet("Last denials", "samples", denials));
  const chart = plot(sheetOfPlot);
  let asked = 0;
  const refresh = async () => {
    const [{ denials: list }, { rules: keys }] = await Promise.all([api("/denials?limit=5"), api("/heavy?limit=20")]);
    const busy = keys.flatMap((rule) => rule.busiest.map((one) => ({ ...one, domain: rule.domain, rule: rule.rule }))).sort((a, b) => b.hits - a.hits).slice(0, 8);
    heavy.replaceChildren(busy.length === 0 ? empty("Nobody came twice in the last minutes.") : keyTable(busy, (one) => `${one.domain} · ${one.rule}`, "Busiest keys"));
    denials.replaceChildren(list.length === 0 ? empty("Nothing was denied since the start.")
      : el("ul", { class: "plain" }, list.slice(0, 5).map((one) => el("li", {}, denied(one)))));
  };
  return {
    tick() {
      chart.tick();
      const now = state.ticks.at(-1) ?? { pass: 0, deny: 0 };
      const { last } = state;
      const all = now.pass + now.deny;
      tiles["Requests/s"].value.textContent = rate(all);
      tiles["Denied/s"].value.textContent = rate(now.deny);
      tiles["Denied/s"].small.textContent = all > 0 ? `${(100 * now.deny / all).toFixed(1)} % of requests` : "no traffic";
      tiles["Counters"].value.textContent = whole(last?.store.counters ?? 0);
      tiles["Counters"].small.textContent = `${bytes(last?.store.bytes ?? 0)}${last?.store.evicted ? ` · ${whole(last.store.evicted)} evicted` : ""}`;
      tiles["Connections"].value.textContent = whole(last?.connections.grpc ?? 0);
      tiles["Connections"].small.textContent = "from Envoy";
      const rows = state.rules.map((rule) => ({ rule, now: state.rates.get(named(rule)) ?? { hits: 0, over: 0 } }))
        .filter(({ rule }) => rule.hits.total > 0)
        .sort((a, b) => b.now.hits - a.now.hits || b.rule.hits.total - a.rule.hits.total).slice(0, 8);
      busiest.replaceChildren(rows.length === 0 ? empty("No rule was charged yet. Requests that reach none are under «Unmatched».")
        : table([["Rule"], ["Hits/s", "number"], ["Denied/s", "number"], ["Near", "number"]], rows.map(({ rule, now }) => el("tr", {},
          cell(rule.rule, el("small", {}, `${rule.domain} · ${limits(rule)}`)), number(rate(now.hits)), number(rate(now.over)),
          number(`${Math.round(100 * rule.hits.near_limit / rule.hits.total)} %`))), "Busiest rules"));
      if (asked++ % 3 === 0) refresh().catch(() => {});
    },
    close: () => chart.close(),
  };
}

function denied(one) {
  return [el("p", { class: "mono" }, one.descriptor),
    el("p", { class: "note" }, [clock(one.at), one.domain, one.subject, `${one.limit}: used ${whole(one.used)} of ${whole(one.granted)}`,
      one.retry_after_ms === null ? "never passes" : `passes in ${duration(one.retry_after_ms)}`].filter(Boolean).join(" · "))];
}

/** A key, which leads to its subject where it is one. */
const keyName = (domain, key) => {
  const subject = /^subject=([^ >]+)$/.exec(key);
  return subject ? el("a", { href: `#subjects/${encodeURIComponent(domain)}/${encodeURIComponent(subject[1])}` }, key) : key;
};
const keyTable = (keys, small, caption) => table([["Key"], ["Hits", "number"], ["Denied", "number"]], keys.map((one) => el("tr", {},
  cell(el("span", { class: "mono" }, keyName(one.domain, one.key)), small ? el("small", {}, small(one)) : null), number(whole(one.hits)), number(whole(one.refused)))), caption);

async function keys(main) {
  let text = "";
  const [list, note] = [el("div", { class: "results" }), el("p", { class: "note" })];
  const load = async () => {
    const { total, rules } = await api(`/heavy?limit=50&search=${encodeURIComponent(text)}`);
    note.textContent = total > rules.length ? `${rules.length} of ${whole(total)} rules` : many(total, "rule");
    list.replaceChildren(...(total === 0 ? [el("section", { class: "sheet" }, empty(text ? "No busy key is called so." : "Nobody came twice in the last minutes."))]
      : rules.map((rule) => {
        const of = (keys) => keys.map((one) => ({ ...one, domain: rule.domain }));
        return sheet(rule.rule, rule.domain, el("div", { class: "split" },
          el("div", {}, el("h3", {}, "Busiest"), keyTable(of(rule.busiest), null, `Busiest keys of ${rule.rule}`)),
          el("div", {}, el("h3", {}, "Most denied"), rule.most_refused.length ? keyTable(of(rule.most_refused), null, `Most denied keys of ${rule.rule}`) : empty("Nobody was denied."))));
      })));
  };
  let typing;
  main.append(title("Keys", "who comes most and who is denied most, by rule: estimates of the last one to two minutes"), el("section", { class: "sheet" }, el("div", { class: "fields" },
    el("label", { class: "grow" }, "Find", el("input", { type: "search", placeholder: "a key, a customer, a rule", oninput: (event) => { text = event.target.value; clearTimeout(typing); typing = setTimeout(() => load().catch(() => {}), 200); } })), note)), list);
  await load();
  let asked = 0;
  return { tick() { if (++asked % 3 === 0) load().catch(() => {}); } };
}

async function rules(main) {
  let order = "hits";
  let text = "";
  const body = el("div");
  const note = el("p", { class: "note" });
  main.append(title("Rules"), el("section", { class: "sheet" }, el("div", { class: "fields" },
    el("label", { class: "grow" }, "Find", el("input", { type: "search", placeholder: "a key, a value, a domain", oninput: (event) => { text = event.target.value.toLowerCase(); tick(); } })), note), body));
  const columns = [["Rule", null], ["Limits", null, "wide"], ["Hits/s", "rate"], ["Hits", "hits"], ["Near", "near", "wide"], ["Denied", "over"]];
  function tick() {
    const per = (rule) => state.rates.get(named(rule))?.hits ?? 0;
    const value = { rate: per, hits: (rule) => rule.hits.total, near: (rule) => rule.hits.near_limit, over: (rule) => rule.hits.over_limit };
    const all = state.rules.filter((rule) => `${rule.domain} ${rule.rule} ${place(rule)}`.toLowerCase().includes(text));
    all.sort((a, b) => value[order](b) - value[order](a));
    note.textContent = `${whole(all.length)} of ${many(state.total, "rule")}`;
    const heads = columns.map(([name, key, wide]) => el("th", { scope: "col", class: [key ? "number" : "", wide ?? ""].join(" ").trim() || null, "aria-sort": key === order ? "descending" : null },
      key ? el("button", { onclick: () => { order = key; tick(); } }, key === order ? `${name} ↓` : name) : name));
    const focused = document.activeElement?.closest?.("th") ? [...document.activeElement.closest("tr").children].indexOf(document.activeElement.closest("th")) : -1;
    body.replaceChildren(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rules" }, el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {},
      all.slice(0, 200).map((rule) => el("tr", {}, cell(rule.rule, " ", rule.shadow_mode ? el("span", { class: "tag warn" }, "shadow") : null, rule.quota ? el("span", { class: "tag" }, "quota") : null,
        el("small", {}, `${rule.domain} · `, shortPlace(rule))), el("td", { class: "wide" }, limits(rule)), number(rate(per(rule))), number(whole(rule.hits.total)), el("td", { class: "number wide" }, whole(rule.hits.near_limit)), number(whole(rule.hits.over_limit))))))));
    if (focused >= 0) body.querySelectorAll("th")[focused]?.querySelector("button")?.focus();
  }
  await loadRules();
  return { tick };
}

async function denials(main) {
  const list = el("div");
  const load = async () => {
    const { denials } = await api("/denials");
    list.replaceChildren(denials.length === 0 ? empty("Nothing was denied since the start.") : el("ul", { class: "plain" }, denials.map((one) => el("li", {}, denied(one)))));
  };
  main.append(title("Denials", "at most ten samples a second from each worker, the last one first"), el("section", { class: "sheet" }, el("p", {}, el("button", { class: "quiet", onclick: load }, "Refresh")), list));
  await load();
}

async function unmatched(main) {
  const list = el("div");
  const load = async () => {
    const { unmatched } = await api("/unmatched");
    list.replaceChildren(unmatched.length === 0 ? empty("Every descriptor reached a rule.") : el("ul", { class: "plain" }, unmatched.map((one) => el("li", {},
      el("p", { class: "mono" }, one.descriptor || "(no entries)"), el("p", {}, prose((one.why ?? one.reason).replace(/^none: /, ""))),
      el("p", { class: "note" }, `${one.domain} · seen in ${many(one.samples, "sample")}, ${one.first === one.last ? `at ${clock(one.last)}` : `from ${clock(one.first)} to ${clock(one.last)}`}`)))));
  };
  main.append(title("Unmatched", "requests of which a descriptor reached no rule, so nothing limits them by it: samples, at most ten a second from each worker"), el("section", { class: "sheet" }, el("p", {}, el("button", { class: "quiet", onclick: load }, "Refresh")), list));
  await load();
}

const numbers = (limits, caption) => table([["Limit"], ["Used", "number"], ["Left", "number"], ["Whole again in", "number"]], limits.map((limit) => el("tr", {},
  cell(limit.limit, el("small", {}, limit.counter ?? "")), number(`${whole(limit.numbers.used)} of ${whole(limit.numbers.limit)}`), number(whole(limit.numbers.remaining)), number(duration(limit.numbers.reset_after_ms)))), caption);

function next(heading, when, call) {
  return sheet(heading, when, call.response_headers.length ? el("pre", {}, call.response_headers.map(([name, value]) => `${name}: ${value}`).join("\n")) : el("p", { class: "note" }, "no headers"),
    call.body ? el("pre", {}, call.body) : null);
}

async function explain(main, [domain = "", descriptors = ""]) {
  const { domains } = await api("/domains");
  const result = el("div", { role: "status", class: "results" });
  const select = el("select", { id: "domain" }, domains.map((one) => el("option", { value: one.name, selected: one.name === domain }, one.name)));
  const text = el("textarea", { id: "descriptors", spellcheck: "false", placeholder: "api_key=key_1, endpoint=GET /leads", "aria-describedby": "descriptors-help" });
  text.value = descriptors;
  const hits = el("input", { id: "hits", type: "number", min: "0", value: "1", class: "short" });
  const ask = async (event) => {
    event?.preventDefault();
    try {
      const lines = text.value.split("\n").map((line) => line.trim()).filter(Boolean);
      // What begins as JSON does, or has descriptors in JSON somewhere, is a line of a log.
      const isLog = /^[{[]/.test(text.value.trim()) || text.value.includes('"descriptors"');
      const asked = isLog ? { access_log: text.value } : { descriptors: lines };
      const now = await api("/explain", { post: { domain: select.value, ...asked, hits: Number(hits.value) } });
      const counted = now.counters.some((limits) => limits.length > 0);
      const reset = el("button", { class: "quiet", type: "button", onclick: async () => {
        if (!confirm("Give back everything that these counters have used?")) return;
        try {
          for (const [at, descriptor] of lines.entries()) if (now.counters[at].length) await api("/counters/reset", { post: { domain: now.domain, descriptor }, change: true });
          await ask();
        } catch (error) { result.prepend(wrong(error)); }
      } }, "Reset these counters");
      result.replaceChildren(sheet("Now", `domain ${now.domain} · the counters as they are; nothing is charged`,
        now.unknown_values.length ? el("p", { class: "wrong" }, "The log does not tell the value of ", prose(now.unknown_values.map((key) => `\`${key}\``).join(", ")), ": what counts by it is not the counter of that request.") : null,
        el("p", {}, code(now.overall), " ", counted ? "is what the next such call is answered" : "nothing limits such a call"),
        ...now.descriptors.map((descriptor, at) => el("div", { class: "results" }, el("p", { class: "mono" }, descriptor.descriptor),
          pairs([["rule", prose(descriptor.rule)], ["who", descriptor.subject], ["limit", descriptor.limit && prose(descriptor.limit)]]), now.counters[at].length ? numbers(now.counters[at], "Counters") : null)),
        counted && !isLog ? el("p", {}, reset) : null));
      if (counted) result.append(el("div", { class: "split" },
        now.next_ok ? next("The next one that passes", now.next_ok.after_ms ? `in ${duration(now.next_ok.after_ms)}` : "now", now.next_ok) : "",
        now.next_refusal ? next("The next one that is denied", now.next_refusal.after_ms === 0 ? "now" : "once the limit is reached", now.next_refusal) : ""));
    } catch (error) { result.replaceChildren(wrong(error)); }
  };
  main.append(title("Explain", "which rule a request reaches, why, and what it is answered"), el("section", { class: "sheet" }, el("form", { onsubmit: ask, class: "results" },
    el("div", { class: "fields" }, el("label", {}, "Domain", select), el("label", {}, "Hits", hits)),
    el("label", {}, "Descriptors, one a line; or one line of Envoy's access log", text),
    el("p", { class: "note", id: "descriptors-help" }, prose("A log line must have the metadata of Spillway's answer: serve with `--request-metadata`. `…` in it is the customer's credential.")), el("p", {}, el("button", { type: "submit" }, "Explain")))), result);
  if (descriptors) await ask();
}

const share = (numbers) => Math.min(100, numbers.limit ? 100 * numbers.used / numbers.limit : 100);
function bar(numbers) {
  const percent = share(numbers);
  const fill = el("i"); fill.style.width = `${percent}%`;
  return el("div", { class: `bar ${percent >= 100 ? "full" : percent > 80 ? "near" : ""}`, role: "meter", "aria-valuemin": "0", "aria-valuemax": String(numbers.limit), "aria-valuenow": String(numbers.used), "aria-label": "used" }, fill);
}

async function subjects(main, [domain, id]) {
  if (domain !== undefined && id !== undefined) return subject(main, domain, id);
  const body = el("div");
  const note = el("p", { class: "note" });
  const list = async (text) => {
    const { total, subjects } = await api(`/subjects?limit=300&search=${encodeURIComponent(text)}`);
    note.textContent = `${whole(subjects.length)} of ${whole(total)}`;
    body.replaceChildren(total === 0 ? empty(text ? "Nobody is called so." : "No policy has subjects.") : table([["Subject"], ["Domain"]], subjects.map((one) => el("tr", {},
      cell(el("a", { href: `#subjects/${encodeURIComponent(one.domain)}/${encodeURIComponent(one.id)}` }, one.id), " ", one.enabled ? null : el("span", { class: "tag warn" }, "disabled")), cell(one.domain))), "Subjects"));
  };
  let typing;
  main.append(title("Subjects", "who is behind a credential"), el("section", { class: "sheet" }, el("div", { class: "fields" },
    el("label", { class: "grow" }, "Find", el("input", { type: "search", placeholder: "a customer's id", oninput: (event) => { clearTimeout(typing); typing = setTimeout(() => list(event.target.value).catch(() => {}), 200); } })), note), body));
  await list("");
}

async function subject(main, domain, id) {
  const [usage, facts, said, edited] = [el("div", { class: "results" }), el("div"), el("p", { class: "note", role: "status" }), el("p", { class: "note", role: "status" })];
  const path = `/subjects/${encodeURIComponent(domain)}/${encodeURIComponent(id)}`;
  let known = null;
  const load = async () => {
    const one = known = await api(path);
    const tier = one.tier ? [[one.tier.attribute, one.tier.value === null ? "none" : `${one.tier.value} (reached)`]] : [];
    facts.replaceChildren(pairs([["domain", one.domain], ["enabled", one.enabled ? "yes" : "no"], ...Object.entries(one.attributes).map(([name, value]) => [name, String(value)]), ...tier,
      ["billing anchor", one.billing_anchor && clock(one.billing_anchor)], ["time zone", one.time_zone], ["spend", one.facts.spend], ["first payment", one.facts.first_payment && clock(one.facts.first_payment)],
      ["credentials", `${whole(one.credentials.enabled)} enabled${one.credentials.disabled ? `, ${one.credentials.disabled} disabled` : ""}`]]));
    enable.textContent = one.enabled ? "Disable" : "Enable";
    names.replaceChildren(...Object.keys(one.attributes).map((attribute) => el("option", { value: attribute })));
    usage.replaceChildren(one.limits.length === 0 ? empty("No limit counts by this subject alone.")
      : el("ul", { class: "plain" }, one.limits.filter((limit) => limit.numbers).map((limit) => el("li", {},
        el("div", { class: "head" }, el("p", {}, `${limit.limit}: ${limit.window.includes("at once") ? "bucket of " : ""}${whole(limit.numbers.limit)} per ${limit.window}`), el("p", { class: "note" }, `${whole(limit.numbers.used)} used · ${whole(limit.numbers.remaining)} left`)),
        bar(limit.numbers), el("p", { class: "note" }, limit.counter === "subject" ? null : `${limit.counter} · `, shortPlace(limit), limit.numbers.used ? ` · whole again in ${duration(limit.numbers.reset_after_ms)}` : null)))),
      ...(one.other_limits.length ? [el("p", { class: "note" }, `Counted by more than the subject, and seen under «Explain»: ${one.other_limits.map((limit) => limit.limit).join(", ")}`)] : []));
  };
  const reset = el("button", { class: "quiet", onclick: async () => {
    if (!confirm(`Give back everything that ${id} has used?`)) return;
    try { await api("/counters/reset", { post: { domain, subject: id }, change: true }); said.textContent = "Reset."; await load(); } catch (error) { said.textContent = error.message; }
  } }, "Reset usage");
  // Which attributes limits go by: a plan, a number of its own. Others may be typed.
  const names = el("datalist", { id: "attributes" });
  const name = el("input", { id: "attribute", list: "attributes", required: true, spellcheck: "false", autocomplete: "off", oninput: () => { const value = known?.attributes[name.value]; to.placeholder = value === undefined ? "new value" : `now ${value}`; } });
  const to = el("input", { id: "value", required: true, spellcheck: "false", autocomplete: "off", placeholder: "new value" });
  const change = async (what, words) => {
    edited.className = "note"; edited.textContent = "";
    try {
      const answer = await what();
      edited.replaceChildren(`${words}${answer.durable ? "" : " Forgotten when Spillway ends: its store keeps no changes."}`, ...answer.warnings.map((warning) => el("span", { class: "wrong" }, " Warning: ", ...prose(warning), ".")));
      await load();
      return true;
    } catch (error) { edited.className = "wrong"; edited.replaceChildren(...prose(error.message)); return false; }
  };
  const edit = el("form", { class: "results", onsubmit: async (event) => {
    event.preventDefault();
    const [attribute, typed] = [name.value.trim(), to.value.trim()];
    const value = /^-?\d{1,15}$/.test(typed) ? Number(typed) : typed === "true" || typed === "false" ? typed === "true" : typed;
    const before = known?.attributes[attribute];
    if (!confirm(`Change ${attribute} of ${id} from ${before ?? "nothing"} to ${value}? It holds from the next request on; what was used stays.`)) return;
    if (await change(() => api(path, { method: "PATCH", post: { attributes: { [attribute]: value } }, change: true }), `${attribute} is ${value} now.`)) { to.value = ""; name.oninput?.(); }
  } }, el("div", { class: "fields" }, el("label", { class: "field" }, "Attribute", name, names), el("label", { class: "field" }, "New value", to), el("button", { type: "submit" }, "Change")));
  const undo = el("button", { class: "quiet", type: "button", onclick: async () => {
    if (confirm(`Take back every change that was made of ${id} here? What the file says holds again.`)) await change(() => api(`${path}/changes`, { method: "DELETE", post: {}, change: true }), "Every change is taken back.");
  } }, "Take all changes back");
  const enable = el("button", { class: "quiet", type: "button", onclick: async () => {
    const enabled = !known.enabled;
    if (confirm(enabled ? `Let the credentials of ${id} be known again?` : `Disable ${id}? Its credentials are nobody's from then on.`)) await change(() => api(path, { method: "PATCH", post: { enabled }, change: true }), enabled ? "Enabled." : "Disabled.");
  } }, "Disable");
  main.append(el("p", {}, el("a", { href: "#subjects" }, "← Subjects")), title(id), el("div", { class: "split" }, sheet("Usage", "what this customer has used", usage, el("p", {}, reset), said), el("div", { class: "results" }, sheet("What is known", null, facts),
    sheet("Change", "a plan, or a limit of their own", edit, el("p", { class: "buttons" }, enable, undo), edited))));
  await load();
  let asked = 0;
  return { tick() { if (++asked % 2 === 0) load().catch(() => {}); } };
}

/** Mistakes of a configuration, each with its place and what stands there. */
const mistakeList = (diagnostics) => el("ul", { class: "plain" }, diagnostics.map((one) => el("li", {},
  el("p", {}, el("span", { class: `tag ${one.severity === "error" ? "over" : "warn"}` }, one.severity), " ", prose(one.message)), one.file ? el("p", { class: "note mono" }, `${one.file}:${one.line}:${one.column}`) : null,
  one.excerpt ? el("pre", {}, `${one.excerpt}\n${" ".repeat(one.column - 1)}${"^".repeat(one.length)}`) : null, one.hint ? el("p", {}, prose(one.hint)) : null)));

async function configuration(main) {
  const [mistakes, history, changes, changesNote, head] = [el("div"), el("div"), el("div"), el("p", { class: "note" }), el("div")];
  const load = async () => {
    const [now, made] = await Promise.all([api("/config"), api("/changes?limit=20")]);
    head.replaceChildren(pairs([["generation", String(now.generation)], ["in force since", clock(now.since)], ["read from", now.files.join(", ")], ["rules", `${many(now.rules, "rule")} in ${many(now.domains, "domain")}`]]));
    mistakes.replaceChildren(!now.stale ? empty("The newest configuration is in force.") : el("div", { class: "results" },
      el("p", { class: "wrong" }, "A newer configuration is refused for these mistakes; what was in force stays in force."),
      mistakeList(now.diagnostics)));
    history.replaceChildren(table([["When"], ["Outcome"], ["Generation", "number wide"], ["Rules", "number"], ["Mistakes", "number wide"]], now.history.map((past) => el("tr", {}, cell(clock(past.at)), cell(el("span", { class: `tag ${past.mistakes ? "over" : "ok"}` }, past.result), past.first_mistake ? el("small", {}, prose(past.first_mistake)) : null), el("td", { class: "number wide" }, past.generation === null ? "–" : String(past.generation)), number(whole(past.rules)), el("td", { class: "number wide" }, String(past.mistakes)))), "History"));
    changesNote.textContent = `${made.total > 20 ? `the last 20 of ${whole(made.total)}` : "newest first"} · ${made.durable ? "kept in the store" : "forgotten when Spillway ends"}`;
    changes.replaceChildren(made.total === 0 ? empty("Nobody has changed anything over this page or its API.") : el("ul", { class: "plain" }, made.changes.map((one) => el("li", {},
      el("p", {}, el("b", {}, one.what), one.object === "config" ? null : ` · ${one.object}`), el("p", { class: "mono" }, `${one.before} → ${one.after}`), el("p", { class: "note" }, `${clock(one.at)} · from ${one.peer}`)))));
  };
  const said = el("span", { class: "note", role: "status" });
  const reload = el("button", { class: "quiet", onclick: async () => {
    reload.disabled = true;
    try { const answer = await api("/config/reload", { post: {}, change: true }); said.textContent = answer.result === "rejected" ? "Refused; see the mistakes." : `Generation ${answer.generation} is in force.`; await load(); }
    catch (error) { said.textContent = error.message; }
    reload.disabled = false;
  } }, "Read the files now");
  main.append(title("Configuration"), sheet("In force", null, head, el("p", {}, reload, " ", said)), sheet("Mistakes", null, mistakes), sheet("History", "the last twenty", history),
    el("section", { class: "sheet" }, el("div", { class: "head" }, el("h2", {}, "Changes by operators"), changesNote), changes));
  await load();
  let asked = 0;
  return { tick() { if (++asked % 3 === 0) load().catch(() => {}); } };
}

const tag = (kind, text) => el("span", { class: `tag ${kind}` }, text);
/** So many days; as years where they are very many. */
const span = (days) => days > 2 * 365 ? many(Math.floor(days / 365.25), "year") : many(days, "day");
/** How many days something is good for, in the colour of how soon that is. */
const daysLeft = (days) => days < 0 ? tag("over", "expired") : tag(days < VERY_SOON ? "over" : days < SOON ? "warn" : "ok", `${span(days)} left`);
const part = (used, most) => most === 0 ? whole(used) : `${whole(used)} of ${whole(most)}${used ? ` (${Math.max(0.1, 100 * used / most).toFixed(1)} %)` : ""}`;

function controlPlane(one) {
  const [kind, word] = one.connected ? ["ok", "connected"] : ["over", "not connected"];
  return el("li", {}, el("p", {}, el("b", {}, one.source), " ", tag(kind, word), " ", one.stale ? tag("over", "last set refused") : null, one.answered ? null : tag("warn", "nothing sent yet")),
    one.failure ? el("p", { class: "wrong" }, one.failure) : null,
    pairs([["in force", one.version === null ? "nothing" : `version ${one.version}, ${many(one.resources, "resource")}`], ["last right set", one.updated ? clock(one.updated) : "none since the start"],
      ["sets", `${whole(one.updates)} put in force, ${whole(one.nacks)} refused`]]),
    one.stale ? el("div", { class: "results" }, el("p", { class: "wrong" }, "The set that it sent last is refused for these mistakes; what was in force stays in force."), mistakeList(one.diagnostics)) : null);
}

function certificate(one) {
  return el("li", {}, el("p", {}, el("b", {}, one.port === "grpc" ? "gRPC port" : "admin port"), " ", daysLeft(one.days_left), " ", one.stale ? tag("over", "new files refused") : null),
    one.stale ? el("p", { class: "wrong" }, `The files have changed and cannot be used, so the ones before are in force: ${one.failure}`) : null,
    pairs([["names", one.names.join(", ") || "none"], ["good until", clock(one.not_after)],
      ["clients", one.clients ? null : "need no certificate"],
      ...(one.clients?.authorities ?? []).map((authority) => ["clients of", el("span", {}, authority.subject, " ", daysLeft(authority.days_left))]),
      ["revocations", one.clients ? one.clients.revocations ? el("span", {}, `next list due ${clock(one.clients.revocations.until)} `, one.clients.revocations.days_left < 0 ? tag("warn", "out of date, still counts") : tag("ok", `in ${span(one.clients.revocations.days_left)}`)) : "no list" : null]]));
}

async function replica(main) {
  const [server, store, planes, certificates] = [el("div"), el("div"), el("div"), el("div")];
  const load = async () => {
    const [config, kept, { ports }] = await Promise.all([api("/config"), api("/store"), api("/certificates")]);
    store.replaceChildren(pairs([["kept in", kept.place], ["counters here", part(kept.counters, kept.most_counters)], ["memory", kept.most_bytes ? `${bytes(kept.bytes)} of ${bytes(kept.most_bytes)}` : bytes(kept.bytes)],
      ["evicted", kept.evicted ? `${whole(kept.evicted)} before they ended: there is no room for more` : "none"],
      ["failures", kept.failures ? el("span", {}, `${whole(kept.failures)} `, kept.breakers_open ? tag("over", `${many(kept.breakers_open, "worker")} not asking it`) : tag("ok", "answers now")) : "none"],
      ["without it", kept.refused_without_store || kept.counted_without_store ? `${whole(kept.refused_without_store)} refused, ${whole(kept.counted_without_store)} counted here` : null]]));
    planes.replaceChildren(config.xds.length === 0 ? empty("No xDS server is asked; the configuration comes from files.") : el("ul", { class: "plain" }, config.xds.map(controlPlane)));
    certificates.replaceChildren(ports.length === 0 ? empty("No port speaks TLS.") : el("ul", { class: "plain" }, ports.map(certificate)));
    version.textContent = `${config.version} (${config.commit})`;
  };
  const [version, ready, memory, connections] = Array.from({ length: 4 }, () => el("span", {}, "–"));
  server.append(pairs([["version", version], ["probes", ready], ["memory", memory], ["connections", connections]]));
  main.append(title("State", "this replica: its store, control planes and certificates"), el("div", { class: "split" }, sheet("Server", null, server), sheet("Store", null, store)), sheet("Control planes", "xDS", planes), sheet("Certificates", "TLS", certificates));
  await load();
  let asked = 0;
  return { tick() {
    const { last } = state;
    if (last) {
      ready.textContent = last.ready ? "ready" : "not ready: no traffic should come here";
      memory.textContent = last.memory_bytes === null ? "not known" : bytes(last.memory_bytes);
      connections.textContent = `${whole(last.connections.grpc)} from Envoy, ${whole(last.connections.http)} for probes and scrapes, ${whole(last.connections.admin)} of operators`;
    }
    if (++asked % 2 === 0) load().catch(() => {});
  } };
}

export const views = { overview, rules, keys, denials, unmatched, explain, subjects, configuration, state: replica };
