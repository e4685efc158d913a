"""The official OpenAI client for Python against the OpenAI routes."""

import asyncio
import json
import os
import urllib.request

import openai
import pydantic

URL, KEY, TWIN = (os.environ[name] for name in ("RAGFLARE_URL", "RAGFLARE_KEY", "RAGFLARE_TWIN"))
QUESTION = [{"role": "user", "content": "How often does the fog signal sound?"}]


def faults(*rules):
    request = urllib.request.Request(
        f"{TWIN}/control/faults", data=json.dumps(rules).encode(), method="PUT"
    )
    urllib.request.urlopen(request).read()


def on_chat(action):
    return {"match": {"service": "ai", "op": "chat"}, "action": action}


def refused(kind, call, **wanted):
    try:
        call()
    except kind as error:
        for name, value in wanted.items():
            assert getattr(error, name) == value, (name, getattr(error, name))
        return error
    raise AssertionError(f"not refused with {kind.__name__}")


client = openai.OpenAI(api_key=KEY, base_url=f"{URL}/v1", max_retries=0)
names = [model.id for model in client.models.list()]
model = next(name for name in names if "llama" in name)
embedder = next(name for name in names if "bge" in name)
assert client.models.retrieve(model).id == model

# Whole.
faults(on_chat({"answer": "Every ninety seconds [S1]. Not hourly [S8]."}))
create = client.chat.completions.create
whole = create(model=model, messages=QUESTION)
message = whole.choices[0].message
assert message.content.startswith("Every ninety seconds [S1]. Not hourly"), message.content
assert "S8" not in message.content
assert whole.choices[0].finish_reason == "stop"
citation = message.annotations[0].url_citation
assert message.content[citation.start_index : citation.end_index] == "[S1]"
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
assert whole._request_id
# What the client does not know is still there.
assert whole.ragflare["sources"][0]["document_id"] == "lighthouse.md"

# Streamed, with what the client makes of it.
with client.chat.completions.stream(
    model=model, messages=QUESTION, stream_options={"include_usage": True}
) as stream:
    pieces = [event.delta for event in stream if event.type == "content.delta"]
    final = stream.get_final_completion()
assert len(pieces) > 3 and final.choices[0].message.content == message.content
assert final.usage.total_tokens > 0

# Asynchronously, and left early.
async def leave():
    other = openai.AsyncOpenAI(api_key=KEY, base_url=f"{URL}/v1", max_retries=0)
    async with await other.chat.completions.create(model=model, messages=QUESTION, stream=True) as stream:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                return chunk.choices[0].delta.content


assert asyncio.run(leave())

# Errors.
refused(openai.NotFoundError, lambda: create(model="gpt-9", messages=QUESTION), code="model_not_found", param="model")
refused(openai.BadRequestError, lambda: create(model=model, messages=QUESTION, n=3), param="n")
extra = {"ragflare": {"filter": {"owner": "me"}}}
refused(
    openai.BadRequestError,
    lambda: create(model=model, messages=QUESTION, extra_body=extra),
    code="filter_field_not_declared",
)
stranger = client.with_options(api_key="wrong")
refused(openai.AuthenticationError, lambda: stranger.models.list(), code="invalid_api_key", type="authentication_error")
faults(on_chat({"error": {"code": 3040}}))
assert create(model=model, messages=QUESTION).ragflare["done"]["outcome"] == "quoted"
form = {"model": model, "messages": QUESTION, "response_format": {"type": "json_object"}}
refused(openai.InternalServerError, lambda: create(**form), code="generator_unavailable")
refused(openai.APIError, lambda: list(create(**form, stream=True)), code="generator_unavailable")
faults()

# Tools and structured answers: the model's words are dictated, once each.
def script(*answers):
    match = {"service": "ai", "op": "chat", "model": model}
    faults(*({"match": match, "times": 1, "action": {"answer": answer}} for answer in answers))


class ReportOutage(pydantic.BaseModel):
    """Reports that a signal does not work."""

    signal: str


class Interval(pydantic.BaseModel):
    seconds: int
    said: str


outage = openai.pydantic_function_tool(ReportOutage)
calling = {"tool_calls": [{"name": "ReportOutage", "arguments": {"signal": "fog 💡"}}]}
script(calling, "Reported; every ninety seconds [S1].")
called = client.chat.completions.parse(model=model, messages=QUESTION, tools=[outage]).choices[0]
assert called.finish_reason == "tool_calls" and called.message.content is None
(call,) = called.message.tool_calls
assert call.function.parsed_arguments == ReportOutage(signal="fog 💡")
gave = {"role": "tool", "tool_call_id": call.id, "content": "case 4711"}
said = create(model=model, messages=[*QUESTION, called.message, gave], tools=[outage]).choices[0]
assert said.finish_reason == "stop" and said.message.content == "Reported; every ninety seconds [S1]."
script(calling)
with client.chat.completions.stream(model=model, messages=QUESTION, tools=[outage]) as stream:
    made = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
assert [event.parsed_arguments for event in made] == [ReportOutage(signal="fog 💡")]

right = json.dumps({"seconds": 90, "said": "雾号 💡 every ninety seconds [S1]"}, ensure_ascii=False)
script("Ninety.", right)
structured = client.chat.completions.parse(model=model, messages=QUESTION, response_format=Interval)
message = structured.choices[0].message
assert message.parsed == Interval(seconds=90, said="雾号 💡 every ninety seconds [S1]")
citation = message.annotations[0].url_citation
assert message.content[citation.start_index : citation.end_index] == "[S1]"
assert structured.ragflare["done"]["degraded"] == ["format_repaired"]
# The documents have nothing: a sentence, which is not parsed.
nothing = {"ragflare": {"filter": {"lang": "none-such"}}}
asking = {"model": model, "messages": QUESTION, "response_format": Interval, "extra_body": nothing}
declined = client.chat.completions.parse(**asking).choices[0].message
assert declined.parsed is None and declined.content is None and len(declined.refusal) > 10, declined
with client.chat.completions.stream(**asking) as stream:
    pieces_of_refusal = [event.delta for event in stream if event.type == "refusal.delta"]
    declining = stream.get_final_completion().choices[0].message
assert declining.refusal == declined.refusal == "".join(pieces_of_refusal) and not declining.content, declining
script("Ninety.", '{"seconds": "90"}')
refused(
    openai.InternalServerError,
    lambda: client.chat.completions.parse(model=model, messages=QUESTION, response_format=Interval),
    code="format_not_met",
    status_code=502,
)
refused(openai.BadRequestError, lambda: create(model=model, messages=QUESTION, tools=[outage], tool_choice="required"), param="tool_choice")
faults()

# Embeddings, by default in base64.
texts = ["The lamp burns all night.", "雾号每九十秒响一次。"]
packed = client.embeddings.create(model=embedder, input=texts)
floats = client.embeddings.create(model=embedder, input=texts, encoding_format="float")
for one, other in zip(packed.data, floats.data, strict=True):
    assert len(one.embedding) == 384
    assert max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-6
refused(openai.BadRequestError, lambda: client.embeddings.create(model=embedder, input=[[1, 2]]), param="input")

print(f"openai {openai.__version__}: {len(pieces)} pieces, {packed.usage.total_tokens} tokens embedded")
