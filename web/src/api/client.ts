/** Calls to `/api/v1`; a failure becomes an ApiError that says what to do. */
import type { XAxis } from "../lib/axis";
import { PREFIX } from "../lib/prefix";
import { decodeJson, decodeProblem, decodeSeries } from "./decode";
import type { Column, MetricKeys, Project, Run, RunKeys, RunPage, Series } from "./nouns";

const SERIES_TYPE = "application/vnd.runlore.series";
const TIMEOUT_MS = 20_000;

export class ApiError extends Error {
  /** The HTTP status, or 0 where no answer came. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Whether a server says that what was asked for was deleted, and so never comes back. */
export function isGone(error: Error): boolean {
  return error instanceof ApiError && error.status === 410;
}

export interface RunQuery {
  readonly search: string;
  readonly state: string;
  readonly filter: string;
  readonly sort: string;
  readonly limit: number;
  readonly cursor: string | null;
}

export interface SeriesQuery {
  readonly runs: readonly string[];
  readonly groups: readonly { readonly name: string; readonly runs: readonly string[] }[];
  readonly keys: readonly string[];
  readonly buckets: number;
  readonly start: number | null;
  readonly stop: number | null;
  readonly x: XAxis;
}

/** The part of a run that a person edits. */
export interface RunEdit {
  readonly name?: string;
  readonly notes?: string;
  readonly tags?: string[];
  readonly color?: string | null;
}

export async function listProjects(): Promise<readonly Project[]> {
  return (await get<{ projects: readonly Project[] }>("/api/v1/projects")).projects;
}

export function getProject(owner: string, project: string): Promise<Project> {
  return get<Project>(projectPath(owner, project));
}

export function listRuns(owner: string, project: string, query: RunQuery): Promise<RunPage> {
  const params = new URLSearchParams({ limit: String(query.limit) });
  for (const name of ["search", "state", "filter", "sort"] as const) {
    if (query[name] !== "") params.set(name, query[name]);
  }
  if (query.cursor !== null) params.set("cursor", query.cursor);
  return get<RunPage>(`${projectPath(owner, project)}/runs?${params.toString()}`);
}

export function getRun(owner: string, project: string, run: string): Promise<Run> {
  return get<Run>(runPath(owner, project, run));
}

export async function updateRun(owner: string, project: string, run: string, edit: RunEdit): Promise<Run> {
  const answer = await request(runPath(owner, project, run), {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(edit),
  });
  return decodeJson<Run>(await answer.text());
}

export async function deleteRun(owner: string, project: string, run: string): Promise<void> {
  await request(runPath(owner, project, run), { method: "DELETE" });
}

/** The first metrics of a project by name, of those that a search finds; `next` is null unless there are more. */
export async function listKeys(owner: string, project: string, search = ""): Promise<MetricKeys> {
  return await get<MetricKeys>(`${projectPath(owner, project)}/keys${searching(search)}`);
}

/** The first metrics of a run by name, of those that a search finds. */
export async function listRunKeys(owner: string, project: string, run: string, search = ""): Promise<RunKeys> {
  return await get<RunKeys>(`${runPath(owner, project, run)}/keys${searching(search)}`);
}

export async function listColumns(owner: string, project: string): Promise<readonly Column[]> {
  return (await get<{ columns: readonly Column[] }>(`${projectPath(owner, project)}/columns`)).columns;
}

export async function readSeries(owner: string, project: string, query: SeriesQuery): Promise<Series[]> {
  const answer = await request(`${projectPath(owner, project)}/series`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: SERIES_TYPE },
    body: JSON.stringify({ ...query, x: query.x.kind === "key" ? query.x : { kind: query.x.kind } }),
  });
  return decodeSeries(await answer.arrayBuffer());
}

function searching(search: string): string {
  return search === "" ? "" : `?search=${encodeURIComponent(search)}`;
}

function projectPath(owner: string, project: string): string {
  return `/api/v1/projects/${encodeURIComponent(owner)}/${encodeURIComponent(project)}`;
}

function runPath(owner: string, project: string, run: string): string {
  return `${projectPath(owner, project)}/runs/${encodeURIComponent(run)}`;
}

async function get<T>(path: string): Promise<T> {
  const answer = await request(path, { headers: { Accept: "application/json" } });
  return decodeJson<T>(await answer.text());
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(`${PREFIX}${path}`, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new ApiError(0, "The server does not answer. Start it again with 'runlore serve'.");
  }
  if (answer.ok) return answer;
  const problem = decodeProblem(await answer.text());
  const said = problem.detail ?? problem.title ?? answer.statusText;
  throw new ApiError(answer.status, said === "" ? `The server answered ${String(answer.status)}.` : sentence(said));
}

/** Messages of the API begin in lower case, as errors of programs do; on a page they are sentences. */
function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?)'"]$/.test(text) ? "" : "."}`;
}
