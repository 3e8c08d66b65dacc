// Rooms look down only: app -> features -> charts | ui | api -> lib. Also checks the sizes of
// files and components. Prints what it looked at and fails when it saw nothing.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const SOURCE = resolve(dirname(fileURLToPath(import.meta.url)), "../src");
const MAY_IMPORT = {
  app: ["app", "features", "charts", "ui", "api", "lib"],
  features: ["features", "charts", "ui", "api", "lib"],
  charts: ["charts", "lib"],
  ui: ["ui", "lib"],
  api: ["api", "lib"],
  lib: ["lib"],
};
// The charts know no library, and no framework but in their mounts.
const PACKAGES = { charts: /^$/, chartMounts: /^react$/, lib: /^$/ };
const FETCHES = new Set(["fetch", "EventSource", "WebSocket", "XMLHttpRequest", "SharedWorker"]);
const MAX_FILE = 500;
const MAX_COMPONENT = 150;

const faults = [];
const seen = { files: 0, imports: 0, components: 0 };

for (const path of walk(SOURCE)) {
  const text = readFileSync(path, "utf8");
  const file = relative(SOURCE, path);
  const lines = text.split("\n").length;
  const [room] = file.split(sep);
  seen.files += 1;
  if (!(room in MAY_IMPORT)) faults.push(`${file}: stands in no room`);
  if (lines > MAX_FILE && file !== join("api", "schema.ts")) {
    faults.push(`${file}: ${lines} lines, at most ${MAX_FILE}`);
  }
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  visit(tree, file, room, path);
}

console.log(
  `boundaries: ${seen.imports} imports and ${seen.components} components in ${seen.files} files`,
);
if (seen.imports === 0 || seen.components === 0) faults.push("saw nothing to check");
for (const fault of faults) console.error(fault);
process.exit(faults.length === 0 ? 0 : 1);

function* walk(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (/\.tsx?$/.test(entry.name) && !entry.name.endsWith(".d.ts")) yield path;
  }
}

function visit(node, file, room, path) {
  const target = importOf(node);
  if (target !== null) checkImport(target, file, room, path);
  if (ts.isIdentifier(node) && FETCHES.has(node.text) && (room === "charts" || room === "ui")) {
    faults.push(`${file}: ${room} must not fetch, but names ${node.text}`);
  }
  if (ts.isFunctionDeclaration(node) && node.name && /^[A-Z]/.test(node.name.text)) {
    const tree = node.getSourceFile();
    const first = tree.getLineAndCharacterOfPosition(node.getStart()).line;
    const last = tree.getLineAndCharacterOfPosition(node.getEnd()).line;
    seen.components += 1;
    if (last - first + 1 > MAX_COMPONENT) {
      faults.push(`${file}: ${node.name.text} has ${last - first + 1} lines, at most ${MAX_COMPONENT}`);
    }
  }
  ts.forEachChild(node, (child) => visit(child, file, room, path));
}

function importOf(node) {
  if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
    return node.moduleSpecifier.text;
  }
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    return node.arguments[0].text;
  }
  return null;
}

function checkImport(target, file, room, path) {
  seen.imports += 1;
  if (!target.startsWith(".")) {
    const allowed = room === "charts" && file.endsWith(".tsx") ? PACKAGES.chartMounts : PACKAGES[room];
    if (allowed && !allowed.test(target)) faults.push(`${file}: ${room} must not import ${target}`);
    return;
  }
  const parts = relative(SOURCE, resolve(dirname(path), target)).split(sep);
  if (!MAY_IMPORT[room]?.includes(parts[0])) {
    faults.push(`${file}: ${room} must not import from ${parts[0]} (${target})`);
  }
  if (room === "features" && parts[0] === "features" && parts[1] !== file.split(sep)[1]) {
    faults.push(`${file}: features are strangers to each other (${target})`);
  }
  if (/(model|draw)\.ts$/.test(file) && room === "charts" && /\.tsx$/.test(target)) {
    faults.push(`${file}: a model must not import a component (${target})`);
  }
}
