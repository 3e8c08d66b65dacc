// The page's weight over the wire; fails above the budget, so that growth is a decision.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const PAGE = resolve(dirname(fileURLToPath(import.meta.url)), "../../src/runlore/server/page");
const MAX_KIB = 168;

const files = readdirSync(join(PAGE, "assets"))
  .filter((name) => /\.(js|css)$/.test(name))
  .map((name) => ({ name, bytes: gzipSync(readFileSync(join(PAGE, "assets", name))).length }));
const kib = files.reduce((sum, file) => sum + file.bytes, 0) / 1024;
for (const file of files) console.log(`  ${(file.bytes / 1024).toFixed(1).padStart(6)} KiB  ${file.name}`);
console.log(`budget: ${kib.toFixed(1)} KiB gzip in ${files.length} files, at most ${MAX_KIB}`);
process.exit(files.length > 0 && kib <= MAX_KIB ? 0 : 1);
