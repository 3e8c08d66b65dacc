/** The paths of the page. View state stays text in the URL, readable and short. */
import { createRootRoute, createRoute, createRouter } from "@tanstack/react-router";

import { PREFIX } from "../lib/prefix";
import type { Params } from "../lib/view";
import { HomePage } from "./HomePage";
import { ProjectPage } from "./ProjectPage";
import { RunPage } from "./RunPage";
import { NotFound, Shell } from "./Shell";

const rootRoute = createRootRoute({ component: Shell, notFoundComponent: NotFound });

const homeRoute = createRoute({ getParentRoute: () => rootRoute, path: "/", component: HomePage });

const projectRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/$owner/$project",
  validateSearch: (search: Record<string, unknown>): Params => textsOf(search),
  component: () => {
    const { owner, project } = projectRoute.useParams();
    return <ProjectPage key={`${owner}/${project}`} owner={owner} project={project} />;
  },
});

const runRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/$owner/$project/runs/$run",
  validateSearch: (search: Record<string, unknown>): Params => textsOf(search),
  component: () => {
    const { owner, project, run } = runRoute.useParams();
    return <RunPage key={`${owner}/${project}/${run}`} owner={owner} project={project} run={run} />;
  },
});

export const router = createRouter({
  basepath: PREFIX === "" ? "/" : PREFIX,
  routeTree: rootRoute.addChildren([homeRoute, projectRoute, runRoute]),
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (search) => {
    const text = new URLSearchParams(textsOf(search)).toString();
    return text === "" ? "" : `?${text}`;
  },
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}

function textsOf(search: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(search).flatMap(([name, value]) => (typeof value === "string" ? [[name, value]] : [])),
  );
}
