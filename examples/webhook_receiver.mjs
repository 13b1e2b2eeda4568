// A receiver of webhooks in Node without dependencies: it checks signatures, and answers at once, later, or step by step.
//
// node webhook_receiver.mjs [PORT]    (8300; 0 takes a free one)
//
// WEBHOOK_SECRETS   the secrets of the queue, with spaces between them: two while one is replaced
// JOBQUEUE_URL      the server that "later" reports to; http://localhost:8080 by default
//
// Jobs of the type "thumbnail" are answered at once, "film" with 202 and a later report, and "order" step by step.
//
//   jobqueue serve --webhook-allow 127.0.0.0/8
//   jobqueue queue set hooks 'processors={"*": {"kind": "webhook", "url": "http://127.0.0.1:8300/job"}}'
//   WEBHOOK_SECRETS=whsec_… node webhook_receiver.mjs
//   jobqueue add order '{"item": "book"}' --queue hooks
//
// Try: a wrong secret (401, a failed attempt), jobqueue queue rotate-secret, kill the receiver while a film is made,
// "jobqueue signal ID approved true" for an order that waits.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const TOLERANCE = 300; // seconds: an old message may be a repetition by somebody else
const MOST_BYTES = 16 * 1024 * 1024;
const secrets = (process.env.WEBHOOK_SECRETS ?? "").split(" ").filter(Boolean);
if (!secrets.length) {
  console.error("WEBHOOK_SECRETS is not set: the secret is shown when a webhook or an alert is configured");
  process.exit(1);
}
const url = process.env.JOBQUEUE_URL ?? "http://localhost:8080";
const effects = [];
const answers = new Map();

/** Return why a body is not by a server that knows one of the secrets, or nothing. */
function problem(body, headers, now) {
  const { "webhook-id": id = "", "webhook-timestamp": moment = "", "webhook-signature": signatures = "" } = headers;
  if (!/^\d+$/.test(moment) || Math.abs(now - Number(moment)) > TOLERANCE) return "the time of the message is not the present";
  const given = signatures.split(" ").filter((part) => part.startsWith("v1,"));
  let isKnown = false;
  for (const secret of secrets) {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    const expected = createHmac("sha256", key).update(`${id}.${moment}.`).update(body).digest();
    for (const part of given) {
      const signature = Buffer.from(part.slice(3), "base64");
      // Compared in a time that says nothing about the signature; and all of them, in any case.
      if (signature.length === expected.length && timingSafeEqual(signature, expected)) isKnown = true;
    }
  }
  return isKnown ? undefined : "no signature is by a known secret";
}

/** Return status and body of the answer to a job. */
function answer(sent) {
  const { job } = sent;
  switch (job?.type) {
    case "thumbnail":
      effects.push(`thumbnail ${job.data.src}`);
      return [200, { width: 320 }];
    case "film":
      film(sent).catch((error) => console.error(error.message));
      return [202, {}];
    case "order":
      return [200, order(job)];
    case undefined: // no job: an alert, or a ping
      console.log(sent.text ?? "");
      return [200, {}];
    default:
      return [200, { outcome: "die", reason: `no such type: ${job.type}` }];
  }
}

/** Do the next step of an order. Each is a short request, and each wait costs nothing here. */
function order({ data, steps }) {
  if (!("reserve" in steps)) {
    effects.push(`reserve ${data.item}`);
    return { outcome: "suspend", delay: 0, steps: { reserve: { shelf: 7 } } };
  }
  if (!("approved" in steps)) return { outcome: "suspend", signal: "approved", timeout: 86_400 };
  if (steps.approved !== true) return { outcome: "die", reason: "the order was not approved" };
  effects.push(`send ${data.item}`);
  return { outcome: "success", result: `sent from shelf ${steps.reserve.shelf}` };
}

/** Make a film after the answer, and report with the token of the request. */
async function film({ job, token }) {
  const headers = { "Content-Type": "application/json", Authorization: `Claim ${token}` };
  const report = (verb, body) =>
    fetch(`${url}/v1/jobs/${job.id}/${verb}`, { method: "POST", headers, body: JSON.stringify(body) });
  for (const progress of [0, 50]) {
    const reply = await report("heartbeat", { progress, logs: [`${progress} %`] });
    if (!reply.ok || (await reply.json()).cancelled) return; // killed, or somebody else's by now
    await sleep(100);
  }
  effects.push(`film ${job.data.src}`);
  const reply = await report("succeed", { result: { seconds: 90 } });
  if (!reply.ok) throw new Error(await reply.text());
}

async function received(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MOST_BYTES) return [413, { error: "too large" }];
    parts.push(part);
  }
  const body = Buffer.concat(parts);
  const error = problem(body, request.headers, Date.now() / 1000);
  if (error) return [401, { error }];
  const sent = JSON.parse(body);
  // The token is the same for all requests of an attempt. The id is so for all attempts, until the job waits or is
  // requeued: where a second attempt must not repeat an effect, keep the id beside the effect in your database.
  const key = `${request.headers["webhook-id"]} ${sent.token}`;
  if (!answers.has(key)) answers.set(key, answer(sent));
  if (answers.size > 10_000) answers.delete(answers.keys().next().value);
  return answers.get(key);
}

const server = createServer(async (request, response) => {
  let status = 200;
  let body = effects;
  if (request.method === "POST") {
    try {
      [status, body] = await received(request);
    } catch (error) {
      [status, body] = [500, { error: error.message }];
    }
  }
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
});
server.listen(Number(process.argv[2] ?? 8300), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
