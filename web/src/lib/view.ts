import { axisOf, axisText, STEP, type XAxis } from "./axis";

/** Which values the y axes show: those that are not absurd, all, or all but the outermost. */
export const Y_RANGES = ["auto", "full", "inliers"] as const;
export type YRange = (typeof Y_RANGES)[number];

/** What the band of a group shows: all of its values, or where its mean is with 95 %. */
export const BANDS = ["range", "interval"] as const;
export type Band = (typeof BANDS)[number];

/** How many runs the charts show at first, and at most when asked for more. */
export const FIRST_RUNS = 100;
export const MOST_RUNS = 1000;

/** What a person sees of a page and would share: it lives in the URL, defaults left out. */
export interface View {
  /** Search of the run list. */
  readonly search: string;
  readonly state: string;
  /** Which runs the list has, as an expression, and their order: both as the server reads them. */
  readonly where: string;
  readonly sort: string;
  /** What the list shows of config and summary. */
  readonly columns: readonly string[];
  /** Runs taken out of the charts. */
  readonly hidden: readonly string[];
  /** When not empty, the only runs in the charts. */
  readonly only: readonly string[];
  /** How many runs the charts show at most. */
  readonly most: number;
  /** The column by which runs are one line; empty for none. */
  readonly by: string;
  readonly band: Band;
  /** Search of the panels. */
  readonly filter: string;
  /** Half-life of the smoothing in steps; 0 is none. */
  readonly smooth: number;
  readonly x: XAxis;
  readonly isLogX: boolean;
  readonly isLogY: boolean;
  readonly yRange: YRange;
  /** The part of the x axis that is shown; of steps whole ones, from `start` up to before `stop`. */
  readonly zoom: { readonly start: number; readonly stop: number } | null;
  /** Sections that are folded. */
  readonly folded: readonly string[];
  /** The enlarged panel. */
  readonly panel: string | null;
}

export type Params = Readonly<Record<string, string | undefined>>;
export type ViewChange = (change: Partial<View>) => void;

/** The half-lives that the smoothing control offers, in steps. */
export const HALF_LIVES: readonly number[] = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

export const DEFAULT_VIEW: View = {
  search: "",
  state: "",
  where: "",
  sort: "",
  columns: [],
  hidden: [],
  only: [],
  most: FIRST_RUNS,
  by: "",
  band: "range",
  filter: "",
  smooth: 0,
  x: STEP,
  isLogX: false,
  isLogY: false,
  yRange: "auto",
  zoom: null,
  folded: [],
  panel: null,
};

/** Reads a view from URL parameters; what cannot be understood is as if it were absent. */
export function readView(params: Params): View {
  const smooth = Number(params["smooth"] ?? 0);
  const x = axisOf(params["x"] ?? "");
  return {
    search: params["q"] ?? "",
    state: params["state"] ?? "",
    where: params["where"] ?? "",
    sort: params["sort"] ?? "",
    columns: list(params["cols"]),
    hidden: list(params["hide"]),
    only: list(params["only"]),
    most: params["most"] === String(MOST_RUNS) ? MOST_RUNS : FIRST_RUNS,
    by: params["by"] ?? "",
    band: params["band"] === "interval" ? "interval" : "range",
    filter: params["filter"] ?? "",
    smooth: Number.isFinite(smooth) && smooth > 0 ? smooth : 0,
    x,
    isLogX: params["logx"] === "1",
    isLogY: params["logy"] === "1",
    yRange: Y_RANGES.find((each) => each === params["y"]) ?? "auto",
    zoom: x.kind === "step" ? zoomOf(params["steps"], /^(-?\d+)\.\.(-?\d+)$/) : zoomOf(params["range"], /^(-?[\d.]+(?:e[+-]?\d+)?)\.\.(-?[\d.]+(?:e[+-]?\d+)?)$/),
    folded: list(params["fold"]),
    panel: params["panel"] ?? null,
  };
}

export function writeView(view: View): Params {
  const params: Record<string, string | undefined> = {};
  const put = (name: string, value: string): void => {
    if (value !== "") params[name] = value;
  };
  put("q", view.search);
  put("state", view.state);
  put("where", view.where);
  put("sort", view.sort);
  put("cols", view.columns.map(encodeURIComponent).join());
  put("hide", view.hidden.map(encodeURIComponent).join());
  put("only", view.only.map(encodeURIComponent).join());
  put("most", view.most === FIRST_RUNS ? "" : String(view.most));
  put("by", view.by);
  put("band", view.band === "range" ? "" : view.band);
  put("filter", view.filter);
  put("smooth", view.smooth === 0 ? "" : String(view.smooth));
  put("logx", view.isLogX ? "1" : "");
  put("logy", view.isLogY ? "1" : "");
  put("y", view.yRange === "auto" ? "" : view.yRange);
  put("x", view.x.kind === "step" ? "" : axisText(view.x));
  put(view.x.kind === "step" ? "steps" : "range", view.zoom === null ? "" : `${String(view.zoom.start)}..${String(view.zoom.stop)}`);
  put("fold", view.folded.map(encodeURIComponent).join());
  put("panel", view.panel ?? "");
  return params;
}

/** The runs that the charts show: newest first, `view.most` at most. */
export function shownRuns<T extends { readonly id: string }>(runs: readonly T[], view: View): T[] {
  const isShown = visibility(view);
  const shown: T[] = [];
  for (const run of runs) {
    if (shown.length === view.most) break;
    if (isShown(run.id)) shown.push(run);
  }
  return shown;
}

export function visibility(view: Pick<View, "hidden" | "only">): (run: string) => boolean {
  if (view.only.length > 0) {
    const only = new Set(view.only);
    return (run) => only.has(run);
  }
  const hidden = new Set(view.hidden);
  return (run) => !hidden.has(run);
}

/** The view after a click on a run's mark. */
export function toggleRun(view: View, run: string): Partial<View> {
  if (view.only.length > 0) return { only: toggled(view.only, run) };
  return { hidden: toggled(view.hidden, run) };
}

/** The view after asking for one run alone; asking again shows all. */
export function soloRun(view: View, run: string): Partial<View> {
  const isSolo = view.only.length === 1 && view.only[0] === run;
  return { only: isSolo ? [] : [run], hidden: [] };
}

export function toggled(names: readonly string[], name: string): string[] {
  return names.includes(name) ? names.filter((each) => each !== name) : [...names, name];
}

function list(text: string | undefined): string[] {
  if (text === undefined || text === "") return [];
  return text.split(",").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}

function zoomOf(text: string | undefined, form: RegExp): View["zoom"] {
  const found = form.exec(text ?? "");
  if (found === null) return null;
  const [start, stop] = [Number(found[1]), Number(found[2])];
  return stop > start ? { start, stop } : null;
}
