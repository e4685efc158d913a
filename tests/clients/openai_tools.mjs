// Tools and structured answers, by the official OpenAI client for Node. The model's words are dictated: what is tested is
// what becomes of them.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import * as z from "zod";
import { asked, faults, key, QUESTION, script, show, url } from "./setup.mjs";

const client = new OpenAI({ apiKey: key, baseURL: `${url}/v1`, maxRetries: 0 });
const model = "@cf/meta/llama-3.3-70b-instruct-fp8-fast";
const messages = [{ role: "user", content: QUESTION }];
const create = (more) => client.chat.completions.create({ model, messages, ...more });

const parameters = { type: "object", properties: { signal: { type: "string" } }, required: ["signal"] };
const outage = { type: "function", function: { name: "report_outage", description: "Reports an outage.", parameters } };
const tools = [outage, { type: "function", function: { name: "now", description: "The time." } }];
const report = { name: "report_outage", arguments: { signal: "fog 💡" } };

// Whole: the call, what it gave, the answer.
await script({ tool_calls: [report] },
  "It is reported (https://status.example/4711, https://status.example/4711?q=ninety, https://evil.example); every ninety seconds [S1].");
const first = await create({ tools });
const choice = first.choices[0];
assert.equal(choice.finish_reason, "tool_calls");
assert.equal(choice.message.content, null);
assert.equal(choice.message.tool_calls.length, 1);
const [call] = choice.message.tool_calls;
assert.equal(call.type, "function");
assert.equal(call.function.name, "report_outage");
assert.deepEqual(JSON.parse(call.function.arguments), report.arguments);
assert.equal(first.ragflare.done.uncited, false);
assert.deepEqual((await asked()).inputs.tools.map((tool) => (tool.function ?? tool).name), ["report_outage", "now"]);
const gave = { role: "tool", tool_call_id: call.id, content: [{ type: "text", text: "case 4711 [S1], https://status.example/4711" }] };
const second = await create({ tools, messages: [...messages, choice.message, gave] });
assert.equal(second.choices[0].finish_reason, "stop");
// What a tool gave is no source: it may be a page that somebody else wrote.
assert.equal(second.choices[0].message.content,
  "It is reported (⟨link removed⟩, ⟨link removed⟩, ⟨link removed⟩); every ninety seconds [S1].");
assert.equal(second.choices[0].message.annotations.length, 1);
const read = JSON.stringify((await asked()).messages);
assert.match(read, /case 4711/);
assert.match(read, /report_outage/);

// Streamed, text before two calls; by the client's own accumulator, and as chunks.
await script({ text: "One moment [S1].", tool_calls: [report, { name: "now", arguments: {} }] });
const seen = [];
const runner = client.chat.completions.stream({ model, messages, tools, stream_options: { include_usage: true } });
runner.on("chunk", (chunk) => seen.push(...(chunk.choices[0]?.delta.tool_calls ?? [])));
const streamed = (await runner.finalChatCompletion()).choices[0];
assert.equal(streamed.finish_reason, "tool_calls");
assert.equal(streamed.message.content, "One moment [S1].");
assert.deepEqual(streamed.message.tool_calls.map((call) => call.function.name), ["report_outage", "now"]);
assert.deepEqual(JSON.parse(streamed.message.tool_calls[0].function.arguments), report.arguments);
assert.deepEqual(seen.map((call) => call.index), [0, 1]);
assert.equal(new Set(seen.map((call) => call.id)).size, 2);

// The client's own loop: it calls the tool and asks again.
await script({ tool_calls: [report] }, "Reported [S1].");
const calls = [];
const loop = client.chat.completions.runTools({
  model, messages,
  tools: [{ type: "function", function: { ...outage.function, parse: JSON.parse, function: (given) => {
    calls.push(given);
    return "done";
  } } }],
});
assert.equal(await loop.finalContent(), "Reported [S1].");
assert.deepEqual(calls, [report.arguments]);
show("runTools", loop.messages.map((message) => message.role));

// `none` sends no tools; what can't be had is refused.
await script("Every ninety seconds [S1].");
await create({ tools, tool_choice: "none" });
assert.equal((await asked()).inputs.tools, undefined);
const format = (schema) => ({ type: "json_schema", json_schema: { name: "answer", strict: true, schema } });
for (const [more, param] of [
  [{ tools, tool_choice: "required" }, "tool_choice"],
  [{ tools, tool_choice: { type: "function", function: { name: "now" } } }, "tool_choice"],
  [{ tools, parallel_tool_calls: false }, "parallel_tool_calls"],
  [{ functions: [outage.function] }, "functions"],
  [{ tools: [{ type: "custom", custom: { name: "x" } }] }, "tools"],
  [{ tools: [{ type: "function", function: { name: "no blanks" } }] }, "tools"],
  [{ tools, response_format: { type: "json_object" } }, "response_format"],
  [{ response_format: { type: "xml" } }, "response_format"],
  [{ response_format: format({ type: "string", pattern: "a+" }) }, "response_format"],
  [{ response_format: format({ type: "text" }) }, "response_format"],
  [{ messages: [...messages, { role: "tool", content: "x" }] }, "messages"],
  [{ messages: [...messages, { role: "tool", tool_call_id: "c", content: "x" }] }, "messages"],
  [{ ragflare: { lora: "none-such" } }, "ragflare.lora"],
]) {
  await assert.rejects(create(more), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError, `${JSON.stringify(more)}: ${error}`);
    assert.deepEqual([error.param, error.code], [param, "invalid_value"], error.message);
    return true;
  });
}

// Structured answers, by a schema of zod's.
const Interval = z.strictObject({ seconds: z.int().min(1), said: z.string(), more: z.array(z.string()).nullable() });
const response_format = zodResponseFormat(Interval, "interval");
const parse = (more) => client.chat.completions.parse({ model, messages, response_format, ...more });
const right = { seconds: 90, said: "💡 Every ninety seconds [S1], not daily [S9].", more: null };
await script(JSON.stringify(right));
const parsed = await parse({});
assert.deepEqual(parsed.choices[0].message.parsed.seconds, 90);
assert.match(parsed.choices[0].message.parsed.said, /^💡 Every ninety seconds \[S1\], not daily ?\.$/);
const marked = parsed.choices[0].message;
assert.equal(marked.annotations.length, 1);
const { start_index, end_index } = marked.annotations[0].url_citation;
// Indices count characters; JavaScript counts the lamp as two.
assert.equal([...marked.content].slice(start_index, end_index).join(""), "[S1]");
assert.equal(parsed.ragflare.done.outcome, "answered");
assert.equal(parsed.ragflare.done.degraded, undefined);
show("parsed", marked.parsed);

// What stands around it goes, and no string of it leads out.
await script("Sure!\n```json\n" + JSON.stringify({ seconds: 90, said: "See https://evil.example/?q=1 [S1]",
  more: ["[here](https:\\/\\/evil.example)", "![x](https://evil.example/i.png)"] }) + "\n```");
const gated = await parse({});
assert.ok(!/evil\.example/.test(gated.choices[0].message.content), gated.choices[0].message.content);
assert.match(gated.choices[0].message.parsed.said, /^See .*\[S1\]$/);
assert.deepEqual(gated.choices[0].message.parsed.more, ["[here]", "![x]"]);

// Asked for once more.
await script("Ninety, I think.", JSON.stringify(right));
const repaired = await parse({});
assert.equal(repaired.choices[0].message.parsed.seconds, 90);
assert.deepEqual(repaired.ragflare.done.degraded, ["format_repaired"]);
const again = JSON.stringify((await asked()).messages);
assert.match(again, /Ninety, I think\./);
assert.match(again, /not what was asked for/);
assert.ok(repaired.usage.completion_tokens > parsed.usage.completion_tokens, "both answers are counted");
assert.ok(repaired.ragflare.usage.neurons > parsed.ragflare.usage.neurons);

// Missed twice: in OpenAI's shape, whole and streamed.
const missed = (error) => {
  assert.ok(error instanceof OpenAI.APIError, `${error}`);
  assert.equal(error.code, "format_not_met");
  assert.equal(error.type, "api_error");
  assert.match(error.message, /seconds/);
  return true;
};
const wrong = JSON.stringify({ seconds: 0, said: "x", more: null });
await script(wrong, wrong);
await assert.rejects(parse({}), (error) => missed(error) && error.status === 502);
await script(wrong, wrong);
await assert.rejects(client.chat.completions.stream({ model, messages, response_format }).finalChatCompletion(), missed);

// Streamed, and any object.
await script(JSON.stringify(right));
const stream = client.chat.completions.stream({ model, messages, response_format });
assert.equal((await stream.finalChatCompletion()).choices[0].message.parsed.seconds, 90);
await script("[1]", '{"any": "thing [S1]"}');
const any = await create({ response_format: { type: "json_object" } });
assert.deepEqual(JSON.parse(any.choices[0].message.content), { any: "thing [S1]" });
assert.deepEqual(any.ragflare.done.degraded, ["format_repaired"]);

// The documents have nothing: a sentence, which `parse()` must not take for JSON.
const nothing = { ragflare: { filter: { lang: "none-such" } } };
const declined = (await parse(nothing)).choices[0].message;
assert.deepEqual([declined.content, declined.parsed], [null, null]);
assert.ok(declined.refusal.length > 10, declined.refusal);
const stream2 = client.chat.completions.stream({ model, messages, response_format, ...nothing });
const declining = (await stream2.finalChatCompletion()).choices[0].message;
assert.deepEqual([declining.refusal, declining.parsed ?? null], [declined.refusal, null]);
assert.ok(!declining.content, declining.content);
const plain = (await create(nothing)).choices[0].message;
assert.deepEqual([plain.content, plain.refusal], [declined.refusal, null]);
const inText = (await create({ ...nothing, response_format: { type: "text" } })).choices[0].message;
assert.equal(inText.content, declined.refusal);
// It may be sent back as it was.
await script("Every ninety seconds [S1].");
const next = await create({ messages: [...messages, declined, ...messages] });
assert.ok(next.choices[0].message.content);
assert.match(JSON.stringify((await asked()).messages), /could not find anything/);

// What it cost is told.
for (const usage of [repaired.usage, first.usage]) assert.equal(usage.prompt_tokens_details.cached_tokens, 0);
const { usage } = repaired.ragflare;
assert.ok(usage.neurons > usage.search.neurons && Math.abs(usage.usd - (usage.neurons * 0.011) / 1000) < 1e-9, JSON.stringify(usage));
await faults([]);
