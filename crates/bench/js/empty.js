// What any worker takes to start.
export default { fetch: () => new Response("0") };
