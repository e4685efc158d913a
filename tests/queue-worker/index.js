// POST /queue/JOBS | /queue/DEAD: the body as a message, as text, or with ?json as a value.
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const queue = url.pathname.startsWith("/queue/") ? env[url.pathname.slice("/queue/".length)] : null;
    if (!queue) {
      return env.QUERY.fetch(request);
    }
    const body = await request.text();
    if (url.searchParams.has("json")) {
      await queue.send(JSON.parse(body), { contentType: "json" });
    } else {
      await queue.send(body, { contentType: "text" });
    }
    return new Response(null, { status: 204 });
  },
};
