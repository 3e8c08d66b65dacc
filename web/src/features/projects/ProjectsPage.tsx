/** The first page: all projects, or how to log the first point. */
import type { ReactNode } from "react";

import { useProjects } from "../../api/queries";
import type { Project } from "../../api/nouns";
import { formatCount, fullNumber, plural } from "../../lib/format";
import { Ago, Notice } from "../../ui/parts";
import { FirstPoint } from "./FirstPoint";

interface ProjectsPageProps {
  readonly link: (project: Project, children: ReactNode) => ReactNode;
}

export function ProjectsPage({ link }: ProjectsPageProps) {
  const projects = useProjects();
  if (projects.data === undefined) {
    if (projects.error === null) return <ProjectsSkeleton />;
    return (
      <Notice title="The projects cannot be read">
        <p>{projects.error.message}</p>
        <button className="button" onClick={() => void projects.refetch()}>Try again</button>
      </Notice>
    );
  }
  if (projects.data.length === 0) return <FirstPoint />;
  return (
    <main className="page">
      <header className="page-head">
        <h1>Projects</h1>
        <p className="muted">{plural(projects.data.length, "project")}</p>
      </header>
      <div className="table projects" role="table" aria-label="Projects">
        <div className="table-head" role="row">
          <span role="columnheader">Name</span>
          <span role="columnheader" className="right">Runs</span>
          <span role="columnheader" className="right">Running now</span>
          <span role="columnheader" className="right">Points</span>
          <span role="columnheader" className="right">Last activity</span>
        </div>
        {projects.data.map((project) => (
          <div key={`${project.owner}/${project.name}`} role="row" className="table-row">
            {link(project, <ProjectCells project={project} />)}
          </div>
        ))}
      </div>
    </main>
  );
}

function ProjectCells({ project }: { readonly project: Project }) {
  return (
    <>
      <span role="cell" className="project-name">
        {project.owner !== "local" && <span className="muted">{project.owner} / </span>}
        {project.name}
      </span>
      <span role="cell" className="num right">{formatCount(project.runs)}</span>
      <span role="cell" className="num right">
        {project.running > 0 ? (
          <span className="live-count"><i className="live-dot" />{formatCount(project.running)}</span>
        ) : (
          <span className="muted">–</span>
        )}
      </span>
      <span role="cell" className="num right" title={`${fullNumber(project.points)} points`}>
        {formatCount(project.points)}
      </span>
      <span role="cell" className="right muted"><Ago time={project.active_at} /></span>
    </>
  );
}

function ProjectsSkeleton() {
  return (
    <main className="page" aria-busy="true" aria-label="Loading the projects">
      <header className="page-head"><h1>Projects</h1></header>
      {[62, 48, 71, 40].map((width) => (
        <div key={width} className="skeleton-row"><i className="skeleton" style={{ width: `${String(width)}%` }} /></div>
      ))}
    </main>
  );
}
