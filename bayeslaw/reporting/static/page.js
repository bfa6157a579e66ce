/* The calculator: reads the fields, asks predict, shows the answer. What a field shows is what is computed. */

const by_id = (id) => document.getElementById(id);
const SIZES = ["params", "tokens", "batch"]; // fields with a slider on a logarithmic scale
const LETTERS = { params: "N", tokens: "D", batch: "batch" };
const NEVER_SEEN = "a set-up never seen"; // target.py
let asked = 0;
let waiting = false;
let speaking = null;

function start() {
  fill_choices();
  for (const name of SIZES) {
    by_id(name).addEventListener("input", () => moved_by_field(name));
    by_id(`${name}-slider`).addEventListener("input", () => moved_by_slider(name));
  }
  for (const name of ["optimizer", "study", "level"]) by_id(name).addEventListener("input", changed);
  by_id("fixed").addEventListener("input", fix_or_free);
  by_id("ask").addEventListener("submit", (event) => event.preventDefault());
  new ResizeObserver(changed).observe(by_id("curve"));
  for (const id of ["ask", "live", "brief"]) by_id(id).hidden = false;
  window.addEventListener("hashchange", take_link);
  take_link();
  changed();
}

/* --------------------------------------------------------------------------------- the state in a link */

/* Fields of the calculator as the end of an address: texts as they are, each escaped. */
function link_of(target, level) {
  const state = new URLSearchParams({
    params: by_id("params").value,
    tokens: by_id("tokens").value,
    optimizer: target.optimizer,
    study: target.study ?? "",
    level: String(Number((100 * level).toPrecision(12))),
  });
  if (target.batch_tokens !== null) state.set("batch", by_id("batch").value);
  return `#${state}`;
}

/* Fills the fields from the address, where it has them; a choice that the page does not offer is left out. */
function take_link() {
  const state = new URLSearchParams(window.location.hash.slice(1));
  if (!state.has("params")) return;
  for (const name of ["optimizer", "study"]) {
    const offered = [...by_id(name).options].some((option) => option.value === state.get(name));
    if (offered) by_id(name).value = state.get(name);
  }
  if (state.has("level")) by_id("level").value = state.get("level");
  by_id("fixed").checked = state.has("batch");
  for (const name of SIZES) {
    if (state.has(name)) by_id(name).value = state.get(name);
    moved_by_field(name);
  }
  fix_or_free();
}

function fill_choices() {
  const { example, unseen, studies } = PAGE;
  const optimizers = studies[0].groups.map((group) => group.optimizer);
  const option = (value, text) => new Option(text, value, false, false);
  by_id("optimizer").append(
    ...optimizers.map((name) => option(name, name === unseen ? "one never seen" : name)),
  );
  by_id("study").append(
    ...studies.map(({ name }) => option(name ?? "", name ?? NEVER_SEEN)),
  );
  by_id("optimizer").value = example.optimizer;
  by_id("study").value = example.study ?? "";
  by_id("level").value = 100 * example.level;
  for (const name of SIZES) {
    const slider = by_id(`${name}-slider`);
    [slider.min, slider.max] = PAGE.sliders[name];
    by_id(name).value = short(example[name]);
    moved_by_field(name);
  }
}

function moved_by_field(name) {
  const value = parsed(by_id(name).value);
  if (value > 0) by_id(`${name}-slider`).value = Math.log10(value);
  say_slider(name);
  changed();
}

function moved_by_slider(name) {
  by_id(name).value = short(10 ** by_id(`${name}-slider`).valueAsNumber);
  say_slider(name);
  changed();
}

function say_slider(name) {
  const slider = by_id(`${name}-slider`);
  slider.setAttribute("aria-valuetext", short(10 ** slider.valueAsNumber));
}

function fix_or_free() {
  for (const id of ["batch", "batch-slider"]) by_id(id).disabled = !by_id("fixed").checked;
  changed();
}

function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    update().catch(give_up);
  });
}

function give_up(error) {
  for (const id of ["ask", "live", "brief"]) by_id(id).hidden = true;
  by_id("problem").textContent =
    "This browser cannot run the calculator (it needs one of 2023 or later); the table holds for the " +
    `example target. ${error}`;
}

/* ------------------------------------------------------------------------------------ what is asked */

/* The target and level of the fields, or null where one is wrong; says what is wrong beside it. */
function read_fields() {
  const values = Object.fromEntries(SIZES.map((name) => [name, parsed(by_id(name).value)]));
  const fixed = by_id("fixed").checked;
  const wrong = Object.fromEntries(SIZES.map((name) => [name, wrong_size(name, values[name])]));
  if (!fixed) wrong.batch = "";
  else if (!wrong.batch && values.batch > values.tokens) {
    wrong.batch = `batch = ${short(values.batch)} exceeds D = ${short(values.tokens)} tokens; lower the batch.`;
  }
  const level = by_id("level").valueAsNumber / 100;
  const possible = level > 0 && level < 1;
  wrong.level = possible ? "" : "Expected a percentage between 0 and 100; give 90.";
  for (const [name, text] of Object.entries(wrong)) show_wrong(name, text);
  if (Object.values(wrong).some((text) => text)) return null;
  const target = {
    params_nonembedding: values.params,
    tokens: values.tokens,
    optimizer: by_id("optimizer").value,
    study: by_id("study").value || null,
    batch_tokens: fixed ? values.batch : null,
  };
  return { target, level };
}

function wrong_size(name, value) {
  if (value > 0 && Number.isFinite(value)) return "";
  return `${LETTERS[name]} = "${by_id(name).value}": expected a number above 0; give it as 7e9 or 7B.`;
}

function show_wrong(name, text) {
  by_id(`${name}-error`).textContent = text;
  by_id(name).setAttribute("aria-invalid", text ? "true" : "false");
}

/* ------------------------------------------------------------------------------------- what is said */

async function update() {
  const now = ++asked;
  const fields = read_fields();
  by_id("answer").classList.toggle("stale", !fields);
  if (!fields) return;
  const group = await group_of(fields.target.study, fields.target.optimizer);
  if (now !== asked) return; // the fields have moved on
  performance.mark("asked");
  const result = predict(group, fields.target, fields.level);
  const good = usable(result);
  by_id("answer").classList.toggle("stale", !good);
  by_id("problem").textContent = good
    ? ""
    : "The posterior says nothing this far out: choose a target nearer to its runs.";
  if (good) show(group, fields.target, result);
  performance.measure("update", "asked");
}

function show(group, target, result) {
  const level = `${general(100 * result.level, 4)}%`;
  const { loss_nats_per_token: loss, regret, extrapolation: beyond } = result;
  by_id("asked").textContent =
    `${target.optimizer === PAGE.unseen ? "an optimizer never seen" : target.optimizer}, ` +
    `N = ${short(target.params_nonembedding)}, D = ${short(target.tokens)} tokens, ` +
    `${target.study ?? NEVER_SEEN}`;
  for (const place of document.querySelectorAll("#answer .level")) place.textContent = level;
  by_id("advice").replaceChildren(...Object.keys(result.recommendation).map((name) => row(name, result)));
  by_id("loss").textContent = loss.median.toFixed(3);
  by_id("loss-interval").textContent = `${loss.lower.toFixed(3)} to ${loss.upper.toFixed(3)}`;
  by_id("regret").textContent = percent(regret.expected);
  by_id("regret-upper").textContent = percent(regret.upper);
  by_id("beyond-params").textContent = beyond.params_decades.toFixed(1);
  by_id("beyond-tokens").textContent = beyond.tokens_decades.toFixed(1);
  by_id("cell").textContent = target_surface.fitted_cell(group, target) ? "A fitted cell: its own runs speak." : "";
  by_id("doubts").replaceChildren(...result.warnings.map(item));
  by_id("no-doubts").hidden = result.warnings.length > 0;
  by_id("command").replaceChildren(...command(target, result.level).flatMap((part) => [piece(part), " "]));
  by_id("link").href = link_of(target, result.level);
  by_id("brief").textContent = brief(result);
  show_curve(group, target, result);
  clearTimeout(speaking);
  speaking = setTimeout(() => (by_id("spoken").textContent = brief(result)), 700);
}

function row(name, result) {
  const best = result.optimum[name];
  const fixed = name === "batch_tokens" && result.inputs.batch_tokens !== null ? " (fixed)" : "";
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = words_of(name);
  const cells = [
    setting(name, result.recommendation[name]) + fixed,
    `${setting(name, best.lower)} to ${setting(name, best.upper)}`,
  ].map((text) => Object.assign(document.createElement("td"), { textContent: text }));
  line.append(head, ...cells);
  return line;
}

function item(text) {
  return Object.assign(document.createElement("li"), { textContent: text });
}

function piece(text) {
  return Object.assign(document.createElement("span"), { textContent: text });
}

function show_curve(group, target, result) {
  const found = curve_of(group, target, result);
  draw_curve(by_id("curve"), found);
  const batch = short(result.recommendation.batch_tokens);
  by_id("curve-words").textContent =
    `Loss above its best at a batch of ${batch} tokens. Half the advised learning rate loses ` +
    `${percent(found.half)} (median), twice as much ${percent(found.twice)}.`;
}

function command(target, level) {
  const number = (value) => value.toExponential().replace("e+", "e").replace(/e0$/, "");
  const parts = [
    "bayeslaw predict",
    `--params ${number(target.params_nonembedding)}`,
    `--tokens ${number(target.tokens)}`,
    `--optimizer ${target.optimizer}`,
  ];
  if (target.study !== null) parts.push(`--study ${quoted(target.study)}`);
  if (target.batch_tokens !== null) parts.push(`--batch-tokens ${number(target.batch_tokens)}`);
  if (level !== 0.9) parts.push(`--level ${Number(level.toPrecision(12))}`);
  if (PAGE.place !== null) parts.push(`--posterior ${quoted(PAGE.place)}`);
  return parts;
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

function brief(result) {
  const { learning_rate: rate, batch_tokens: batch } = result.recommendation;
  const doubts = result.warnings.length;
  return (
    `Peak learning rate ${three_digits(rate)}, batch ${short(batch)} tokens, expected regret ` +
    `${percent(result.regret.expected)}, ${doubts} ${doubts === 1 ? "warning" : "warnings"}.`
  );
}

start();
