/* Loss against learning rate at one batch, as plot_recommendation in bayeslaw/plots draws it. */

const BANDS = [0.05, 0.25, 0.5, 0.75, 0.95];
const MARGIN = { left: 46, right: 12, top: 10, bottom: 40 };
const HEIGHT = 280;
const REACH = 1e4; // of the curve, either way, however wide the interval

/* Learning rates and, at each, the quantiles BANDS of the loss lost [%]; `best`: interval of the optimum there. */
function curve_of(group, target, result) {
  const found = target_surface.surface_at(group, target);
  const { learning_rate: rate, batch_tokens: batch } = result.recommendation;
  const best = interval(target_surface.log_lr_at_batch(found, Math.log(batch)).map(Math.exp), result.level);
  const low = Math.max(Math.min(best.lower, rate) / 4, rate / REACH);
  const high = Math.min(Math.max(best.upper, rate) * 4, rate * REACH);
  const rates = Array.from({ length: 61 }, (_, i) => low * (high / low) ** (i / 60));
  const curve = loss_curve(found, batch, rates, BANDS).map((row) => row.map((loss) => 100 * loss));
  const [half, twice] = loss_curve(found, batch, [rate / 2, rate * 2], [0.5]).map(([loss]) => loss);
  return { rates, curve, best, rate, half, twice };
}

function draw_curve(place, { rates, curve, best, rate }) {
  const width = Math.max(place.clientWidth, 240);
  const top = 1.4 * Math.max(...curve.map((row) => row[2])) || 1;
  const x = scale(Math.log(rates[0]), Math.log(rates.at(-1)), MARGIN.left, width - MARGIN.right);
  const y = scale(0, top, HEIGHT - MARGIN.bottom, MARGIN.top);
  const at_rate = (value) => x(Math.log(value));
  const line = (k) => rates.map((value, i) => [at_rate(value), y(Math.min(curve[i][k], 2 * top))]);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
  const frame = {
    x: MARGIN.left,
    y: MARGIN.top,
    width: width - MARGIN.left - MARGIN.right,
    height: HEIGHT - MARGIN.top - MARGIN.bottom,
  };
  const inside = shape("svg", { ...frame, viewBox: Object.values(frame).join(" ") });
  inside.append(
    shape("rect", {
      class: "optima",
      x: at_rate(best.lower),
      width: at_rate(best.upper) - at_rate(best.lower),
      y: 0,
      height: HEIGHT,
    }),
    shape("path", { class: "band", d: outline([...line(0), ...line(4).reverse()]) }),
    shape("path", { class: "band", d: outline([...line(1), ...line(3).reverse()]) }),
    shape("path", { class: "middle", d: outline(line(2)) }),
    shape("path", { class: "advice", d: outline([[at_rate(rate), 0], [at_rate(rate), HEIGHT]]) }),
  );
  svg.append(...axes(at_rate, y, rates, top, width), inside);
  place.replaceChildren(svg);
}

function axes(at_rate, y, rates, top, width) {
  const bottom = HEIGHT - MARGIN.bottom;
  const parts = [];
  for (const value of percent_ticks(top)) {
    parts.push(
      shape("path", { class: "grid", d: outline([[MARGIN.left, y(value)], [width - MARGIN.right, y(value)]]) }),
      label(MARGIN.left - 6, y(value) + 4, "end", `${general(value, 3)}%`),
    );
  }
  let taken = -Infinity;
  for (const value of rate_ticks(rates[0], rates.at(-1))) {
    const place = at_rate(value);
    parts.push(shape("line", { class: "tick", x1: place, x2: place, y1: bottom, y2: bottom + 4 }));
    if (place - taken < 58) continue;
    taken = place;
    parts.push(label(place, bottom + 17, "middle", general(value, 1)));
  }
  return [...parts, label((MARGIN.left + width) / 2, HEIGHT - 5, "middle", "peak learning rate")];
}

/* 1, 2 and 5 of each decade within the range. */
function rate_ticks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const digit of [1, 2, 5]) ticks.push(Number(`${digit}e${power}`));
  }
  return ticks.filter((value) => value >= low && value <= high);
}

/* About four round steps from 0. */
function percent_ticks(top) {
  const power = 10 ** Math.floor(Math.log10(top / 4));
  const step = power * [1, 2, 5, 10].find((digit) => top / (digit * power) <= 5);
  return Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => i * step);
}

function scale(from, to, low, high) {
  return (value) => low + ((value - from) / (to - from)) * (high - low);
}

function outline(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

function label(x, y, anchor, text) {
  const element = shape("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
