/** The frame around every page: where one is, whether the server is there, and the commands. */
import { Link, Outlet, useLocation, useNavigate, useParams } from "@tanstack/react-router";
import { useEffect, useMemo, useRef } from "react";

import { useIsAway } from "../api/queries";
import { PaletteButton, useCommands } from "../ui/commands";
import { focusOn, keepFocus } from "../ui/focus";
import { Notice } from "../ui/parts";

export function Shell() {
  const navigate = useNavigate();
  useEffect(keepFocus, []);
  useLinkBack();
  useCommands(
    useMemo(
      () => [
        { name: "Go to projects", key: "p", run: () => void navigate({ to: "/" }) },
        { name: "Search runs", key: "/", run: () => document.getElementById("run-search")?.focus() },
      ],
      [navigate],
    ),
  );
  return (
    <div className="shell">
      <header className="top">
        <Crumbs />
        <AwayNote />
        <PaletteButton />
      </header>
      <Outlet />
    </div>
  );
}

/** Whoever comes back from a page stands on the link that led there. */
function useLinkBack(): void {
  const { pathname } = useLocation();
  const before = useRef(pathname);
  useEffect(() => {
    const left = before.current;
    before.current = pathname;
    if (left === pathname) return;
    // Lists come a few frames after their page.
    let frames = 30;
    let frame = 0;
    const seek = (): void => {
      const link = document.querySelector(`.shell > :not(.top) a[href="${CSS.escape(left)}"]`);
      frames -= 1;
      if (link === null && frames > 0) frame = requestAnimationFrame(seek);
      else focusOn(link);
    };
    seek();
    return () => { cancelAnimationFrame(frame); };
  }, [pathname]);
}

function Crumbs() {
  const { owner, project, run } = useParams({ strict: false });
  return (
    <nav className="crumbs" aria-label="Place">
      <Link to="/" className="brand" aria-label="All projects">
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path className="brand-axis" d="M2.5 2v9.5a2 2 0 0 0 2 2H14" />
          <path className="brand-line" d="M5.2 4c1.5 5 3.8 6 8.6 6.2" />
        </svg>
        <span>Runlore</span>
      </Link>
      {owner !== undefined && project !== undefined && (
        <>
          <i aria-hidden="true">/</i>
          <Link to="/$owner/$project" params={{ owner, project }} className="crumb">
            {owner !== "local" && <span className="muted">{owner}/</span>}
            {project}
          </Link>
        </>
      )}
      {run !== undefined && (
        <>
          <i aria-hidden="true">/</i>
          <span className="crumb muted">{run}</span>
        </>
      )}
    </nav>
  );
}

function AwayNote() {
  const isAway = useIsAway();
  return (
    <span className="away" role="status" hidden={!isAway}>
      {isAway ? "The server is away. Trying again…" : ""}
    </span>
  );
}

export function NotFound() {
  return (
    <Notice title="There is no such page">
      <p><Link to="/" className="link">All projects</Link></p>
    </Notice>
  );
}
