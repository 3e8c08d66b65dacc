/** Small parts that every page uses. */
import { type ReactNode, useEffect, useRef, useState, useSyncExternalStore } from "react";

import { exactTime, formatAgo, formatNumber, fullNumber } from "../lib/format";
import { headAndTail, readable } from "../lib/readable";

const COPIED_MS = 1_500;
const TICK_MS = 10_000;

export function useIsDark(): boolean {
  return useMedia("(prefers-color-scheme: dark)");
}

export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (onChange) => {
      const media = matchMedia(query);
      media.addEventListener("change", onChange);
      return () => { media.removeEventListener("change", onChange); };
    },
    () => matchMedia(query).matches,
  );
}

/** A time as people say it, with the exact one on hover. */
export function Ago({ time }: { readonly time: string }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => { setNow(Date.now()); }, TICK_MS);
    return () => { clearInterval(timer); };
  }, []);
  const at = Date.parse(time);
  return (
    <time dateTime={time} title={exactTime(at)}>
      {formatAgo(at, Math.max(now, at))}
    </time>
  );
}

/** A number with four digits, and all of them on hover. */
export function Num({ value }: { readonly value: number }) {
  return (
    <span className="num" title={fullNumber(value)}>
      {formatNumber(value)}
    </span>
  );
}

/** A name that may hold anything; read from where it begins, whatever stands around it. */
export function Readable({ text }: { readonly text: string }) {
  return (
    <bdi>
      {readable(text).map((piece, index) => (piece.isOdd ? <i key={index} className="odd">{piece.text}</i> : piece.text))}
    </bdi>
  );
}

/** A name that gives up its middle where there is no room. */
export function LongName({ text }: { readonly text: string }) {
  const [head, tail] = headAndTail(text);
  return (
    <>
      <span className="name-head"><Readable text={head} /></span>
      {tail !== "" && <span className="name-tail"><Readable text={tail} /></span>}
    </>
  );
}

export function CopyButton({ text, label }: { readonly text: string; readonly label: string }) {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(() => { setCopied(false); }, COPIED_MS);
    return () => { clearTimeout(timer); };
  }, [isCopied]);
  return (
    <button
      className="button quiet copy"
      aria-label={label}
      title={label}
      onClick={() => { void copy(text).then(() => { setCopied(true); }); }}
    >
      {isCopied ? "Copied" : "Copy"}
    </button>
  );
}

/** Lines to copy, as an empty page shows them. */
export function CodeLines({ title, code }: { readonly title: string; readonly code: string }) {
  return (
    <figure className="code">
      <figcaption>
        <span>{title}</span>
        <CopyButton text={code} label={`Copy the lines for ${title}`} />
      </figcaption>
      <pre><code>{code}</code></pre>
    </figure>
  );
}

interface SearchBoxProps {
  readonly label: string;
  readonly value: string;
  readonly fault: string | null;
  readonly id: string;
  readonly onChange: (value: string) => void;
}

/** A search box whose value arrives a moment after the last key, so that typing stays quick. */
export function SearchBox({ label, value, fault, id, onChange }: SearchBoxProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const change = (text: string): void => {
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => { onChange(text); setTyped(null); }, 120);
  };
  const shown = typed ?? value;
  return (
    <div className={fault === null ? "search" : "search is-wrong"} title={fault ?? "Text, or a regular expression between slashes: /loss$/"}>
      <Icon name="search" />
      <input
        id={id}
        type="search"
        aria-label={label}
        aria-invalid={fault !== null}
        placeholder={label}
        value={shown}
        spellCheck={false}
        autoComplete="off"
        onChange={(event) => { change(event.target.value); }}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          // First the text goes, then the focus, and single keys are commands again.
          if (shown === "") event.currentTarget.blur();
          else change("");
          event.preventDefault();
        }}
      />
      {shown !== "" && (
        <button className="search-clear" aria-label="Clear" onClick={() => { change(""); }}>
          <Icon name="close" />
        </button>
      )}
    </div>
  );
}

/** A page or a part of it that has nothing to show, and says what to do about it. */
export function Notice({ title, children }: { readonly title: string; readonly children?: ReactNode }) {
  return (
    <div className="notice">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

const ICONS = {
  search: "M7 12.5a5.5 5.5 0 1 1 0-11 5.5 5.5 0 0 1 0 11Zm4-1.5 3.5 3.5",
  close: "m4 4 8 8m0-8-8 8",
  fold: "m4 6 4 4 4-4",
  enlarge: "M9.5 2.5h4v4m0-4-4.5 4.5m-2.5 6.5h-4v-4m0 4L7 9",
  filter: "M2.5 3.5h11L9.5 8.5v4l-3-1.5v-2.5z",
  list: "M2.5 4h11m-11 4h11m-11 4h7",
  pen: "m10.5 3 2.5 2.5-7.5 7.5-3 .5.5-3L10.5 3Z",
} as const;

export function Icon({ name }: { readonly name: keyof typeof ICONS }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={ICONS[name]} />
    </svg>
  );
}

async function copy(text: string): Promise<void> {
  // Browsers give no clipboard to pages from plain addresses in a network; the old way still works.
  if (isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
