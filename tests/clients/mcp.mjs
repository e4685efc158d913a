// Both official MCP clients against POST /mcp: the one of the revisions that begin with `initialize`, and the newer one
// in both of its ways.
import assert from "node:assert/strict";
import * as v2 from "@modelcontextprotocol/client";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { dictate, faults, key, QUESTION, show, url } from "./setup.mjs";

const endpoint = new URL(`${url}/mcp`);
const requestInit = { headers: { authorization: `Bearer ${key}` } };
const info = { name: "ragflare-tests", version: "1.0.0" };

async function tour(client) {
  assert.equal(client.getServerVersion().name, "ragflare");
  assert.match(client.getInstructions(), /documents/);

  const { tools } = await client.listTools();
  assert.deepEqual(tools.map((tool) => tool.name), ["search", "ask", "list_documents"]);
  for (const tool of tools) {
    assert.equal(tool.inputSchema.type, "object");
    assert.equal(tool.annotations.readOnlyHint, true);
  }
  assert.match(tools[0].inputSchema.properties.filter.description, /lang \(string\)/);

  // The clients check structured content against the output schemas.
  const found = await client.callTool({ name: "search", arguments: { query: "fog signal", top_k: 2 } });
  assert.ok(!found.isError, JSON.stringify(found));
  assert.ok(found.structuredContent.hits.length >= 1 && found.structuredContent.hits.length <= 2);
  assert.equal(found.structuredContent.hits[0].document_id, "lighthouse.md");
  assert.match(found.content[0].text, /fog signal/);

  await dictate("Every ninety seconds [S1]. Never at noon [S7].");
  const progress = [];
  const onprogress = (note) => progress.push(note);
  const asked = await client.callTool(...withProgress(client, { name: "ask", arguments: { question: QUESTION } }, onprogress));
  assert.ok(!asked.isError, JSON.stringify(asked));
  assert.match(asked.structuredContent.text, /^Every ninety seconds \[S1\]\. Never at noon ?\.$/);
  assert.equal(asked.structuredContent.grounded, true);
  assert.equal(asked.structuredContent.outcome, "answered");
  assert.deepEqual([asked.structuredContent.cited, asked.structuredContent.uncited], [[1], false]);
  assert.equal(asked.structuredContent.citations.length, 1);
  const [citation] = asked.structuredContent.citations;
  assert.match(citation.sentence.text, /ninety seconds/);
  assert.ok(citation.supported > 0.5, `${citation.supported}`);
  const { usage } = asked.structuredContent;
  assert.ok(usage.neurons > usage.search.neurons && usage.total_tokens > 0, JSON.stringify(usage));
  assert.match(asked.content[0].text, /\[S1\] .*lighthouse\.md/);
  assert.ok(progress.length > 2, `${progress.length} notes`);
  assert.ok(progress.every((note, at) => at === 0 || note.progress > progress[at - 1].progress));
  await faults([]);

  const listed = await client.callTool({ name: "list_documents", arguments: { prefix: "light" } });
  assert.deepEqual(listed.structuredContent.documents.map((document) => document.id), ["lighthouse.md"]);
  assert.equal(listed.structuredContent.next_cursor, null);

  // What the model can mend is said to the model.
  for (const [name, wrong, words] of [
    ["search", { query: "" }, /query: must not be empty/],
    ["search", { query: "x", filter: { owner: "me" } }, /owner/],
    ["ask", { question: "x", top_k: 1000 }, /top_k/],
    ["list_documents", { limit: 1000 }, /limit/],
  ]) {
    const refused = await client.callTool({ name, arguments: wrong });
    assert.equal(refused.isError, true);
    assert.match(refused.content[0].text, words);
  }
  await assert.rejects(client.callTool({ name: "rm", arguments: {} }), (error) => error.code === -32602);
  await faults([{ match: { service: "ai", op: "chat" }, action: { error: { code: 3036 } } }]);
  const quoted = await client.callTool({ name: "ask", arguments: { question: QUESTION } });
  assert.ok(!quoted.isError, JSON.stringify(quoted));
  assert.equal(quoted.structuredContent.outcome, "quoted");
  show("the model is out of quota", quoted.content[0].text.split("\n")[0]);
  await faults([]);
}

/** The arguments of `callTool`, which the two clients take in different orders. */
function withProgress(client, call, onprogress) {
  return client instanceof Client ? [call, undefined, { onprogress }] : [call, { onprogress }];
}

const old = new Client(info);
await old.connect(new StreamableHTTPClientTransport(endpoint, { requestInit }));
await old.ping();
await tour(old);
await assert.rejects(old.request({ method: "prompts/list", params: {} }, { parse: (x) => x }));
await old.close();
show("@modelcontextprotocol/sdk", old.getServerVersion().version);

for (const mode of ["legacy", "auto", { pin: "2026-07-28" }]) {
  const client = new v2.Client(info, { versionNegotiation: { mode } });
  await client.connect(new v2.StreamableHTTPClientTransport(endpoint, { requestInit }));
  const version = client.getNegotiatedProtocolVersion();
  assert.equal(version, mode === "legacy" ? "2025-11-25" : "2026-07-28");
  await tour(client);
  await client.close();
  show(`@modelcontextprotocol/client, ${JSON.stringify(mode)}`, version);
}

// A wrong key.
const stranger = new Client(info);
const wrong = { requestInit: { headers: { authorization: "Bearer wrong" } } };
await assert.rejects(stranger.connect(new StreamableHTTPClientTransport(endpoint, wrong)), (error) => error.code === 401);
