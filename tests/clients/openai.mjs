// The official OpenAI client for Node against the OpenAI routes.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { asked, dictate, faults, key, QUESTION, show, url } from "./setup.mjs";

const client = new OpenAI({ apiKey: key, baseURL: `${url}/v1`, maxRetries: 0 });
const messages = [{ role: "user", content: QUESTION }];

const models = await client.models.list();
const names = models.data.map((model) => model.id);
const model = names.find((name) => name.includes("llama"));
const embedder = names.find((name) => name.includes("bge"));
show("models", names);
assert.equal((await client.models.retrieve(model)).id, model);
await assert.rejects(client.models.retrieve("gpt-9"), OpenAI.NotFoundError);

// Whole.
await dictate("Every ninety seconds [S1]. Not hourly [S8].");
const whole = await client.chat.completions.create({ model, messages, max_completion_tokens: 64 });
assert.equal(whole.object, "chat.completion");
const { message, finish_reason } = whole.choices[0];
assert.match(message.content, /^Every ninety seconds \[S1\]\. Not hourly ?\.$/);
assert.equal(finish_reason, "stop");
assert.equal(message.annotations.length, 1);
const { url_citation } = message.annotations[0];
assert.equal(message.content.slice(url_citation.start_index, url_citation.end_index), "[S1]");
// The link leads to the sentence's bytes in the document's text.
const { sentence } = url_citation.ragflare;
const [link, bytes] = url_citation.url.split("#bytes=");
assert.equal(link, `${url}/v1/documents/lighthouse.md/text`);
const document = Buffer.from(await (await fetch(link, { headers: { authorization: `Bearer ${key}` } })).arrayBuffer());
assert.equal(document.subarray(...bytes.split("-").map(Number)).toString(), sentence.text);
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
assert.ok(whole._request_id);

// Streamed, by the client's own accumulator; content in parts, and fields that mean nothing here.
const runner = client.chat.completions.stream({
  model,
  messages: [
    { role: "system", content: [{ type: "text", text: "Be brief." }] },
    { role: "user", content: [{ type: "text", text: QUESTION }] },
  ],
  stream_options: { include_usage: true },
  n: 1, store: false, user: "u1", top_p: 0.9, presence_penalty: 0.5, frequency_penalty: -0.5, seed: 7, metadata: { a: "b" },
  tools: [], parallel_tool_calls: false, stop: null, logprobs: false, logit_bias: {},
});
const pieces = [];
const seen = { annotations: 0, sources: 0, usage: 0 };
runner.on("content", (piece) => pieces.push(piece));
runner.on("chunk", (chunk) => {
  seen.annotations += chunk.choices[0]?.delta.annotations?.length ?? 0;
  seen.sources += chunk.ragflare?.sources?.length ?? 0;
  seen.usage += chunk.usage ? 1 : 0;
});
const final = await runner.finalChatCompletion();
assert.equal(final.choices[0].message.content, message.content);
assert.ok(pieces.length > 3);
assert.equal(seen.annotations, 1);
assert.ok(seen.sources >= 1);
assert.equal(seen.usage, 1);
assert.ok(final.usage.total_tokens > 0);
const { inputs } = await asked();
assert.deepEqual([inputs.seed, inputs.top_p, inputs.frequency_penalty, inputs.presence_penalty].map((value) => Math.round(value * 100)),
  [700, 90, -50, 50]);
await faults([]);

// What OpenAI takes as null.
const nulls = { stream: null, stream_options: null, max_tokens: 8, tools: null, stop: null, seed: null, ragflare: { skip_cache: null } };
assert.equal((await client.chat.completions.create({ model, messages, ...nulls })).object, "chat.completion");
const halfNull = await client.chat.completions.create({
  model, messages, max_tokens: 8, stream: true, stream_options: { include_usage: null },
});
for await (const chunk of halfNull) assert.ok(!("usage" in chunk));

// Without `include_usage` there is none.
let usages = 0;
const plain = await client.chat.completions.create({ model, messages, stream: true, max_tokens: 8 });
let said = "";
for await (const chunk of plain) {
  usages += "usage" in chunk ? 1 : 0;
  said += chunk.choices[0]?.delta.content ?? "";
}
assert.equal(usages, 0);
assert.ok(said.length > 0);
show("the model", said);

// Errors.
const create = (more) => client.chat.completions.create({ model, messages, ...more });
for (const [more, type, param, code] of [
  [{ model: "gpt-9" }, OpenAI.NotFoundError, "model", "model_not_found"],
  [{ n: 2 }, OpenAI.BadRequestError, "n", "invalid_value"],
  [{ max_completion_tokens: 0 }, OpenAI.BadRequestError, "max_completion_tokens", "invalid_value"],
  [{ temperature: 9 }, OpenAI.BadRequestError, "temperature", "invalid_value"],
  [{ messages: [] }, OpenAI.BadRequestError, "messages", "invalid_value"],
  [{ messages: "x" }, OpenAI.BadRequestError, null, "invalid_json"],
  [{ messages: [["user", "fog?"]] }, OpenAI.BadRequestError, null, "invalid_json"],
  [{ stream_options: [true] }, OpenAI.BadRequestError, null, "invalid_json"],
  [{ stop: ["\n"] }, OpenAI.BadRequestError, "stop", "invalid_value"],
  [{ logprobs: true }, OpenAI.BadRequestError, "logprobs", "invalid_value"],
  [{ logit_bias: { 50256: -100 } }, OpenAI.BadRequestError, "logit_bias", "invalid_value"],
  [{ top_p: 2 }, OpenAI.BadRequestError, "top_p", "invalid_value"],
  [{ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:," } }] }] },
    OpenAI.BadRequestError, "messages", "invalid_value"],
  [{ ragflare: { filter: { owner: "me" } } }, OpenAI.BadRequestError, "filter.owner", "filter_field_not_declared"],
]) {
  await assert.rejects(create(more), (error) => {
    assert.ok(error instanceof type, `${error}`);
    assert.deepEqual([error.param, error.code], [param, code]);
    assert.ok(error.type && error.message && error.requestID, `${error.type} ${error.requestID}`);
    return true;
  });
}
const stranger = new OpenAI({ apiKey: "wrong", baseURL: `${url}/v1`, maxRetries: 0 });
await assert.rejects(stranger.chat.completions.create({ model, messages }), OpenAI.AuthenticationError);

// Without a model the sources are quoted; where that can't be, the failure is told.
await faults([{ match: { service: "ai", op: "chat" }, action: { error: { code: 3036 } } }]);
const quoted = await create({});
assert.equal(quoted.ragflare.done.outcome, "quoted");
assert.match(quoted.choices[0].message.content, /^No language model can be reached.*> .*fog signal.* \[S1\]/s);
assert.ok(quoted.choices[0].message.annotations.length >= 1);
const response_format = { type: "json_object" };
await assert.rejects(create({ response_format }), OpenAI.RateLimitError);
await assert.rejects(async () => {
  for await (const _ of await create({ stream: true, response_format }));
}, (error) => error instanceof OpenAI.APIError && error.code === "generator_quota_exceeded");
await faults([]);

// Embeddings: the client asks for base64 unless told otherwise, and gives numbers.
const input = ["The lamp burns all night.", "雾号每九十秒响一次。"];
const packed = await client.embeddings.create({ model: embedder, input });
const floats = await client.embeddings.create({ model: embedder, input, encoding_format: "float" });
assert.deepEqual(packed.data.map((entry) => entry.index), [0, 1]);
for (const [at, entry] of packed.data.entries()) {
  assert.equal(entry.embedding.length, 384);
  const apart = Math.max(...entry.embedding.map((value, place) => Math.abs(value - floats.data[at].embedding[place])));
  assert.ok(apart < 1e-6, `${apart}`);
}
assert.ok(packed.usage.prompt_tokens > 4);
const many = await client.embeddings.create({ model: embedder, input: Array(230).fill("fog"), dimensions: 384 });
assert.equal(many.data.length, 230);
assert.equal(many.usage.total_tokens, 690);
for (const [more, type, param] of [
  [{ model: "text-embedding-9" }, OpenAI.NotFoundError, "model"],
  [{ input: [] }, OpenAI.BadRequestError, "input"],
  [{ input: Array(2049).fill("x") }, OpenAI.BadRequestError, "input"],
  [{ input: ["a", " "] }, OpenAI.BadRequestError, "input[1]"],
  [{ input: [1, 2] }, OpenAI.BadRequestError, "input"],
  [{ input: "fog ".repeat(600) }, OpenAI.BadRequestError, "input[0]"],
  [{ dimensions: 256 }, OpenAI.BadRequestError, "dimensions"],
]) {
  await assert.rejects(client.embeddings.create({ model: embedder, input: "x", ...more }), (error) => {
    assert.ok(error instanceof type, `${error}`);
    assert.equal(error.param, param);
    return true;
  });
}
show("embeddings", `${packed.data[0].embedding.length} numbers, ${packed.usage.total_tokens} tokens`);
