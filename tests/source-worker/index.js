// A bucket's owner: PUT and DELETE /bucket/KEY write into it, POST /fill?prefix=&count= puts empty objects; POST /event sends a body as R2's
// event notification, POST /job as a job; GET /originals lists what the product keeps. Anything else is for the front door.
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const done = new Response(null, { status: 204 });
    if (url.pathname.startsWith("/bucket/")) {
      const key = decodeURIComponent(url.pathname.slice("/bucket/".length));
      if (request.method === "DELETE") {
        await env.SOURCE.delete(key);
        return done;
      }
      const httpMetadata = {};
      if (request.headers.get("content-type")) httpMetadata.contentType = request.headers.get("content-type");
      if (request.headers.get("x-encoding")) httpMetadata.contentEncoding = request.headers.get("x-encoding");
      const customMetadata = JSON.parse(request.headers.get("x-metadata") ?? "{}");
      await env.SOURCE.put(key, await request.arrayBuffer(), { httpMetadata, customMetadata });
      return done;
    }
    if (url.pathname === "/fill") {
      const [prefix, count] = [url.searchParams.get("prefix"), Number(url.searchParams.get("count"))];
      for (let number = 0; number < count; number++) {
        await env.SOURCE.put(`${prefix}${String(number).padStart(5, "0")}.md`, "");
      }
      return done;
    }
    if (url.pathname === "/event") {
      await env.EVENTS.send(await request.json(), { contentType: "json" });
      return done;
    }
    if (url.pathname === "/job") {
      await env.JOBS.send(await request.text(), { contentType: "text" });
      return done;
    }
    if (url.pathname === "/originals") {
      const keys = [];
      let page = { truncated: true };
      while (page.truncated) {
        page = await env.ORIGINALS.list({ cursor: page.cursor });
        keys.push(...page.objects.map((object) => object.key));
      }
      return Response.json(keys);
    }
    return env.QUERY.fetch(request);
  },
};
