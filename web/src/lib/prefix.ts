const place = new URL(import.meta.url).pathname;
const assets = place.lastIndexOf("/assets/");

/** The path below which a proxy shows the server, or nothing: what stands before the page's own files. */
export const PREFIX = assets < 0 ? "" : place.slice(0, assets);
