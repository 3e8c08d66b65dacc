/** All projects; an empty server turns into the first run's chart by itself. */
import { Link, useNavigate } from "@tanstack/react-router";
import { useEffect, useRef } from "react";

import { useLive, useProjects } from "../api/queries";
import { ProjectsPage } from "../features/projects/ProjectsPage";

export function HomePage() {
  const live = useLive();
  const navigate = useNavigate();
  const isEmpty = useProjects().data?.length === 0;
  const isWaiting = useRef(false);
  useEffect(() => { isWaiting.current = isEmpty; }, [isEmpty]);
  useEffect(
    () =>
      live.listen({
        onChanges: ([first]) => {
          if (first === undefined || !isWaiting.current) return;
          isWaiting.current = false;
          void navigate({ to: "/$owner/$project", params: { owner: first.owner, project: first.project }, replace: true });
        },
      }),
    [live, navigate],
  );
  return (
    <>
      <title>Runlore</title>
      <ProjectsPage
        link={(project, children) => (
          <Link to="/$owner/$project" params={{ owner: project.owner, project: project.name }}>{children}</Link>
        )}
      />
    </>
  );
}
