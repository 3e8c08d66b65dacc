import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

// `npm run dev` shows the page of a server that runs elsewhere.
const server = process.env["RUNLORE_URL"] ?? "http://127.0.0.1:7333";

/** Has the browser fetch the script of the live stream beside the page's own, not behind it. */
function earlyWorker(): Plugin {
  return {
    name: "early-worker",
    transformIndexHtml: {
      order: "post",
      handler: (_html, { bundle }) =>
        Object.keys(bundle ?? {})
          .filter((file) => file.includes("live.worker"))
          .map((file) => ({ tag: "link", attrs: { rel: "preload", as: "fetch", crossorigin: true, href: `./${file}` }, injectTo: "head" })),
    },
  };
}

export default defineConfig({
  plugins: [react(), earlyWorker()],
  // Files name each other relatively; the server puts its prefix before those of the first document.
  base: "./",
  worker: { format: "es" },
  build: {
    outDir: "../src/runlore/server/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  server: { proxy: { "/api": server, "/healthz": server, "/login": server } },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
});
