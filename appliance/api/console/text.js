// Numbers, ages, times and JSON as text for people. Pure functions.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function number(value) {
  return value === null || value === undefined ? "–" : whole.format(value);
}

// A rate per second, or a dash where it is not known yet.
export function rate(value) {
  if (value === null) return "–";
  return value < 10 ? short.format(value) : whole.format(value);
}

const SPANS = [[86_400, "d"], [3_600, "h"], [60, "min"]];

export function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  for (const [span, name] of SPANS) {
    if (seconds >= span) return `${short.format(Math.floor((seconds / span) * 10) / 10)} ${name}`;
  }
  return `${whole.format(seconds)} s`;
}

export function bytes(value) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${short.format(value)} ${units[unit]}`;
}

// The node's time as it is in its log: UTC, to the second.
export function moment(text) {
  return text ? text.replace("T", " ").replace(/\.\d+Z$/, "Z") : "";
}

// The time in a field of type datetime-local, which is the browser's zone, for the node; "" where it is empty.
export function fieldTime(value) {
  return value ? new Date(value).toISOString() : "";
}

const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

// The members of a JSON object, by name, each as indented text. Read from the text and not from a value, so that numbers
// are shown as they were sent: a value would round those of more than 15 digits.
export function members(text) {
  const found = new Map();
  let depth = 0, name = null, taken = [];
  for (const [word] of text.matchAll(TOKENS)) {
    const closes = word === "}" || word === "]";
    if ((word === "," && depth === 1) || (closes && depth === 1)) {
      if (name !== null) found.set(name, indented(taken));
      name = null;
      taken = [];
    } else if (depth === 1 && name === null) {
      name = JSON.parse(word);
    } else if (depth > 1 || word !== ":") {
      if (depth >= 1) taken.push(word);
    }
    if (word === "{" || word === "[") depth += 1;
    else if (closes) depth -= 1;
  }
  return found;
}

function indented(words) {
  let depth = 0;
  const parts = [];
  const line = () => parts.push("\n", "  ".repeat(depth));
  words.forEach((word, place) => {
    const before = words[place - 1];
    if (word === "}" || word === "]") {
      depth -= 1;
      if (before !== "{" && before !== "[") line();
    } else if (before === "{" || before === "[" || before === ",") {
      line();
    }
    parts.push(word === ":" ? ": " : word);
    if (word === "{" || word === "[") depth += 1;
  });
  return parts.join("");
}
