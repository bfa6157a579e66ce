/* bayeslaw/text.py: numbers as a person reads and writes them. Names as there. */

function words_of(name) {
  return LAW.optima[name].words;
}

function setting(name, value) {
  return name === "batch_tokens" ? short(value) : three_digits(value);
}

function percent(fraction) {
  return `${general(100 * fraction, 2)}%`;
}

function three_digits(value) {
  return general(value, 3);
}

function short(value) {
  for (const [size, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= 0.9995 * size) {
      const scaled = value / size;
      return (scaled >= 99.95 ? scaled.toFixed(0) : general(scaled, 3)) + letter;
    }
  }
  return general(value, 3);
}

/* Python's format(value, ".{digits}g"). */
function general(value, digits) {
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  const power = Number(exponent);
  const bare = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (power >= -4 && power < digits) return bare(value.toFixed(digits - 1 - power));
  return `${bare(mantissa)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/* "7e9", "7B", "1.4T" or "7,000,000,000" as a number; NaN where it is none. */
function parsed(text) {
  const plain = text.trim().replace(/^\d{1,3}(,\d{3})+(?=\D|$)/, (digits) => digits.replaceAll(",", ""));
  const found = plain.match(/^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*([kmbgt]?)$/i);
  if (!found) return NaN;
  const power = { k: 3, m: 6, b: 9, g: 9, t: 12 }[found[3].toLowerCase()] ?? 0;
  return Number(`${found[1]}e${power + Number((found[2] ?? "e0").slice(1))}`);
}
