// The worker of the README by a client of openapi-typescript: node worker.js URL TOKEN FILE…
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const [url = "", token = "", ...files] = process.argv.slice(2);
const client = createClient<paths>({
  baseUrl: url,
  headers: { Authorization: `Bearer ${token}` },
  // openapi-fetch writes meta[meta.user_id]=42 otherwise.
  querySerializer: { object: { style: "form", explode: true } },
});

for (const file of files) {
  await client.POST("/v1/jobs", {
    body: { type: "checksum", queue: "files", data: { file }, meta: { user_id: 42 }, attempts: 1 },
  });
}
while (true) {
  const { data: claimed } = await client.POST("/v1/queues/{queue}/claim", {
    params: { path: { queue: "files" } },
    body: { worker: "typescript", types: ["checksum"] },
  });
  if (!claimed) break; // 204: there is none
  const { job, token } = claimed;
  const params = { path: { id: job.id } };
  const beat = { token, progress: 10, logs: ["reading"] };
  const { data: lease } = await client.POST("/v1/jobs/{id}/heartbeat", { params, body: beat });
  if (lease?.cancelled !== false) throw new Error("the job was taken away");
  try {
    const result = createHash("sha256").update(await readFile(String(job.data["file"]))).digest("hex");
    await client.POST("/v1/jobs/{id}/succeed", { params, body: { token, result } });
  } catch (error) {
    await client.POST("/v1/jobs/{id}/fail", { params, body: { token, reason: String(error) } });
  }
}

async function ended(state: string): Promise<unknown[]> {
  const query = { queue: "files", state, meta: { "meta.user_id": "42" } };
  const { data: page } = await client.GET("/v1/jobs", { params: { query } });
  return (page?.items ?? []).map((job) => job.result ?? job.error?.message);
}

const other = await client.GET("/v1/jobs", { params: { query: { meta: { "meta.user_id": "43" } } } });
const wrong = await client.POST("/v1/jobs", { body: { type: "" } });
const result = {
  success: await ended("success"),
  failed: await ended("failed"),
  other: other.data?.items.length,
  problem: wrong.error?.errors,
};
console.log(JSON.stringify(result));
