/** Times, tokens and money in words for people. */

const count = new Intl.NumberFormat("en");

const seconds = (ms, digits) => `${(ms / 1000).toFixed(digits)} s`;

/** Four decimals show the price of one turn; a smaller one keeps its first two figures. */
const money = (usd) => `$${usd > 0 && usd < 0.0001 ? usd.toPrecision(2) : usd.toFixed(4)}`;

const known = (value) => value !== null && value !== undefined;

/** Say what a completed turn took, leaving out what the server did not tell: a list of short phrases. */
export function figuresOf({ first_delta_ms: first, duration_ms: whole, usage, cost_usd: cost, model }) {
  return [
    known(first) && `first words ${seconds(first, 2)}`,
    known(whole) && seconds(whole, 1),
    usage && `${count.format(usage.output)} tokens`,
    known(cost) && money(Number(cost)),
    model,
  ].filter(Boolean);
}

/** Tell the tokens apart, for whoever looks closer. */
export const tokensOf = ({ usage }) =>
  usage ? `${count.format(usage.input)} tokens read, ${count.format(usage.output)} written` : "";

export const wait = (ms) => (ms >= 1000 ? `${Math.round(ms / 1000)} s` : "");
