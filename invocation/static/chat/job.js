/** A turn that goes on as the job that it offered: accepted by its reader, then asked after until it ends. */

import { Problem, acceptOffer, cancelJob, readJob, readResult } from "./wire.js";

const POLL_MS = 1000;
const ENDED = new Set(["completed", "failed", "cancelled"]);

/** What a turn keeps of its job; `id` is null until the server accepted the offer. */
export const blankJob = (endpoint, id = null) => ({
  endpoint,
  id,
  state: id ? "queued" : "accepting",
  etaS: null,
  startedAt: Date.now(),
  tookS: null,
  progress: null,
  text: "",
  trouble: null,
});

export const isOver = (job) => ENDED.has(job.state) || job.trouble !== null;

/** Accept the offer as `turn.job`, or go on with the job that it has; `changed()` follows each change. */
export async function continueAsJob(turn, { key, changed }) {
  const { job } = turn;
  try {
    if (!job.id) await accept(turn, key);
    changed();
    await poll(job, { key, changed });
    if (job.state === "completed") job.text = textOf(await patiently(() => readResult(key(), job.id)));
  } catch (problem) {
    job.trouble = { sentence: problem.title, remedy: problem.detail || problem.remedy };
  }
  changed();
}

/** Ask that the job ends; the poll says when it has. */
export const stopJob = (job, key) => cancelJob(key(), job.id).catch(() => {});

/** A second click, or a lost answer, is the same job: an offer is accepted once. */
async function accept({ job, id: turn }, key) {
  const { id, state, endpoint, eta_s: etaS } = await patiently(() => acceptOffer(key(), turn));
  Object.assign(job, { id, state, endpoint, etaS });
}

async function poll(job, { key, changed }) {
  for (;;) {
    const { state, progress, error, created_at: from, finished_at: to } = await patiently(() => readJob(key(), job.id));
    const tookS = from && to ? (Date.parse(to) - Date.parse(from)) / 1000 : null;
    Object.assign(job, { state, tookS, progress: progress ?? null, trouble: troubleOf(state, error) });
    changed();
    if (ENDED.has(state)) return;
    await later(POLL_MS);
  }
}

/** Repeat a call that may succeed a moment later; throws the Problem that will not pass. */
async function patiently(act) {
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (error instanceof Problem && !error.passes) throw error;
      await later((error.retryAfterS ?? 2) * 1000);
    }
  }
}

function troubleOf(state, error) {
  if (state === "cancelled") return { sentence: "Stopped.", remedy: "" };
  if (state !== "failed") return null;
  return { sentence: error?.sentence ?? error?.detail ?? "The job was not finished.", remedy: error?.remedy ?? "" };
}

const textOf = (result) => result.output?.text ?? JSON.stringify(result.output ?? result, null, 2);

const later = (ms) => new Promise((done) => setTimeout(done, ms));
