// A worker in Node without dependencies: JOBQUEUE_URL=http://localhost:8080 node poll_worker.mjs [QUEUE]
//
// It runs jobs of the type "checksum": {"files": ["a", "b"], "pause": 0}. Each file is a step, so a job that comes back goes
// on with the next file. Change the function "work"; the rest is the same for every worker.
//
//   jobqueue add checksum '{"files": ["/etc/hostname", "/etc/passwd"], "pause": 5}' --queue files
//
// Try: kill it with TERM (it gives its job back at once, uncounted) or with KILL (the job comes back when its lease has
// ended), kill the job (jobqueue kill ID), name a file that does not exist, stop the server for a while.

import { createHash, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

const url = `${process.env.JOBQUEUE_URL ?? "http://localhost:8080"}/v1`;
const queue = process.argv[2] ?? "files";
const worker = `poll_worker.mjs:${hostname()}:${process.pid}`;
const lease = 10; // seconds; a heartbeat comes every three
const stopping = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => stopping.abort(new Error("the worker is stopped")));

class Refused extends Error {
  constructor(status, text) {
    super(`${status}: ${text}`);
    this.status = status;
  }
}

class Die extends Error {}

/** Send a request until there is an answer. All tries have the same key, so a lost reply has no second effect. */
async function post(path, body, authorization, signal) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": randomUUID() };
  if (authorization) headers.Authorization = authorization;
  for (let pause = 500; ; pause = Math.min(2 * pause, 30_000)) {
    try {
      const reply = await fetch(`${url}/${path}`, { method: "POST", headers, body: JSON.stringify(body), signal });
      const text = await reply.text();
      if (reply.ok) return text ? JSON.parse(text) : undefined;
      if (reply.status < 500 && reply.status !== 429) throw new Refused(reply.status, text);
    } catch (error) {
      if (error instanceof Refused || signal?.aborted) throw error;
      console.error(`${error.message}: ${error.cause?.message ?? ""}`);
    }
    await sleep(pause, undefined, { signal });
  }
}

/** A job under its claim. */
class Run {
  constructor({ job, token }) {
    this.job = job;
    this.isLost = false;
    this.ended = new AbortController();
    this.signal = AbortSignal.any([this.ended.signal, stopping.signal]);
    this.authorization = `Claim ${token}`;
  }

  send(verb, body) {
    return post(`jobs/${this.job.id}/${verb}`, body, this.authorization);
  }

  /** Write a line of the log, and how far the job is. */
  note(line, progress) {
    return this.send("heartbeat", { logs: [line], progress });
  }

  /** Run a function once: its result is kept, whatever happens to this worker. */
  async step(name, run) {
    if (name in this.job.steps) return this.job.steps[name];
    return (await this.send("steps", { name, result: await run() })).result;
  }

  /** Renew the lease. A job that was killed, or is somebody else's now, is ended. */
  async beat() {
    const { signal } = this.ended;
    while (!signal.aborted) {
      try {
        await sleep(3000, undefined, { signal });
        if ((await this.send("heartbeat", {})).cancelled) this.lose();
      } catch (error) {
        if (error instanceof Refused) this.lose();
      }
    }
  }

  lose() {
    this.isLost = true;
    this.ended.abort(new Error("the job was killed, or its claim is lost"));
  }

  async run() {
    const beating = this.beat();
    const [verb, body] = await this.outcome();
    this.ended.abort();
    await beating;
    if (this.isLost) return;
    try {
      await this.send(verb, body);
    } catch (error) {
      // The result cannot be stored, or the claim was lost meanwhile: then this is refused, too.
      await this.send("fail", { reason: error.message }).catch(() => {});
    }
  }

  async outcome() {
    try {
      return ["succeed", { result: await work(this) }];
    } catch (error) {
      if (stopping.signal.aborted) return ["retry", { reason: "the worker is stopped" }];
      if (error instanceof Die) return ["die", { reason: error.message }];
      return ["fail", { reason: error.message, trace: error.stack }];
    }
  }
}

/** The job: returns its result. Die kills it, any other error is a failed attempt. */
async function work(run) {
  const { files = [], pause = 0 } = run.job.data;
  if (!files.length) throw new Die("there are no files");
  const sums = {};
  for (const [number, file] of files.entries()) {
    run.signal.throwIfAborted();
    const name = `sum of ${file}`;
    const isNew = !(name in run.job.steps);
    if (isNew) await run.note(`reading ${file}`, Math.floor((100 * number) / files.length));
    sums[file] = await run.step(name, async () => createHash("sha256").update(await readFile(file)).digest("hex"));
    if (isNew) await sleep(1000 * pause, undefined, { signal: run.signal });
  }
  return sums;
}

const api = process.env.JOBQUEUE_API_TOKEN && `Bearer ${process.env.JOBQUEUE_API_TOKEN}`;
while (!stopping.signal.aborted) {
  try {
    // A server that has just claimed a job for us gives it back when the connection breaks.
    const claim = await post(`queues/${queue}/claim`, { worker, types: ["checksum"], wait: 30, lease }, api, stopping.signal);
    if (claim) await new Run(claim).run(); // else nothing came within 30 seconds
  } catch (error) {
    if (stopping.signal.aborted) break;
    console.error(error.message);
    if (error instanceof Refused) await sleep(5000, undefined, { signal: stopping.signal }).catch(() => {});
  }
}
