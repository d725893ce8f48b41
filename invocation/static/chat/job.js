/** A turn continued as a job of an async endpoint: submitted once, then polled until it ends. */

import { Problem, readJob, readResult, submitJob } from "./wire.js";

const POLL_MS = 1000;
const ENDED = new Set(["completed", "failed", "cancelled"]);

/** What a turn keeps of its job; `id` is null until the server accepted it. */
export const blankJob = (endpoint) => ({ endpoint, id: null, state: "submitting", progress: null, text: "", trouble: null });

export const isOver = (job) => ENDED.has(job.state) || job.trouble !== null;

/** Submit the turn's question as `turn.job`, or go on with the job that it has; `changed()` follows each change. */
export async function continueAsJob(turn, { key, changed }) {
  const { job } = turn;
  try {
    if (!job.id) await submit(turn, key);
    changed();
    await poll(job, { key, changed });
    if (job.state === "completed") job.text = textOf(await patiently(() => readResult(key(), job.id)));
  } catch (problem) {
    job.trouble = { sentence: problem.title, remedy: problem.detail || problem.remedy };
  }
  changed();
}

/** The turn's own name is the idempotency key: a second click, or a lost answer, is the same job. */
async function submit({ job, asked, local }, key) {
  const body = { endpoint: job.endpoint, input: { text: asked }, once: `${local}-${job.endpoint}` };
  const { id, state } = await patiently(() => submitJob(key(), body));
  Object.assign(job, { id, state: state ?? "queued" });
}

async function poll(job, { key, changed }) {
  while (!ENDED.has(job.state)) {
    await later(POLL_MS);
    const { state, progress, error } = await patiently(() => readJob(key(), job.id));
    Object.assign(job, { state, progress: progress ?? null, trouble: troubleOf(state, error) });
    changed();
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
  if (state !== "failed" && state !== "cancelled") return null;
  return { sentence: error?.sentence ?? error?.detail ?? `The job was ${state === "failed" ? "not finished" : state}.`, remedy: error?.remedy ?? "" };
}

const textOf = (result) => result.output?.text ?? JSON.stringify(result.output ?? result, null, 2);

const later = (ms) => new Promise((done) => setTimeout(done, ms));
