// What every measured worker does: POST a text to /WORK?repeat=N, and WORK is done N times on it.
//
// A worker's clock stands still while it computes, so the time is taken outside, against a request with repeat=0.
export const serve = (hold, works) => ({
  async fetch(request) {
    const url = new URL(request.url);
    const markdown = url.searchParams.has("markdown");
    const text = await request.text();
    const held = hold(text);
    const work = works[url.pathname.slice(1)];
    let result = 0;
    for (let left = Number(url.searchParams.get("repeat")); left > 0; left--) result = await work(markdown, held);
    return new Response(String(result));
  },
});
