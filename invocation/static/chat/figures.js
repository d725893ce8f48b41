/** Times, tokens and money in words for people. */

const count = new Intl.NumberFormat("en");

export const seconds = (ms, digits) => `${(ms / 1000).toFixed(digits)} s`;

/** Four decimals show the price of one turn; a smaller one keeps its first two figures. */
const money = (usd) => `$${usd > 0 && usd < 0.0001 ? usd.toPrecision(2) : usd.toFixed(4)}`;

const known = (value) => value !== null && value !== undefined;

/** Say what a completed turn took, leaving out what the server did not tell: a list of short phrases. */
export function figuresOf({ first_delta_ms: first, duration_ms: whole, usage, cost_usd: cost, model }) {
  return [
    known(first) && `first words ${seconds(first, 2)}`,
    known(whole) && seconds(whole, 1),
    usage?.output > 0 && `${count.format(usage.output)} tokens`,
    cost > 0 && money(Number(cost)),
    model,
  ].filter(Boolean);
}

/** Tell the tokens apart, for whoever looks closer. */
export const tokensOf = ({ usage }) =>
  usage ? `${count.format(usage.input)} tokens read, ${count.format(usage.output)} written` : "";

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000]];

/** Say how long ago a moment was, roughly. */
export function ago(moment, now = Date.now()) {
  const past = now - Date.parse(moment);
  const [unit, ms] = UNITS.find(([, each]) => past >= each) ?? ["minute", Infinity];
  return ms === Infinity ? "just now" : relative.format(-Math.floor(past / ms), unit);
}

export const wait = (ms) => (ms >= 1000 ? `${Math.round(ms / 1000)} s` : "");
