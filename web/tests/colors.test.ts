import { readFileSync } from "node:fs";

import { describe, expect, test } from "vitest";

import { DARK, LIGHT, runDash, strokeGround } from "../src/charts/palette";

type Triple = readonly [number, number, number];

const tokens = readFileSync(new URL("../src/ui/tokens.css", import.meta.url), "utf8");
const [light = "", dark = ""] = tokens.split("@media");

/** What eyes without one kind of cone see of linear RGB, after Machado, Oliveira and Fernandes (2009). */
const EYES: Readonly<Record<string, readonly Triple[]>> = {
  all: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
};

describe.each([["light", light, LIGHT], ["dark", dark, DARK]] as const)("%s", (_theme, css, palette) => {
  const token = (name: string): string => new RegExp(`--${name}: (#[0-9a-f]{6});`).exec(css)?.[1] ?? `no ${name}`;

  test.each(["text", "text-2", "accent", "danger"])("%s can be read on every ground", (name) => {
    for (const ground of ["paper", "ground", "raised", "hover"]) {
      expect(contrast(token(name), token(ground)), `${name} on ${ground}`).toBeGreaterThanOrEqual(4.5);
    }
  });

  test.each(["accent", "danger"])("%s can be read on its own soft ground", (name) => {
    expect(contrast(token(name), token(`${name}-soft`))).toBeGreaterThanOrEqual(4.5);
  });

  test("signs and run colours stand out from the paper", () => {
    for (const color of [token("text-3"), ...palette]) expect(contrast(color, token("paper")), color).toBeGreaterThanOrEqual(3);
  });

  test.each(["all", "protanopia", "deuteranopia"])("run colours stay apart for eyes with %s", (eyes) => {
    const seen = palette.map((color) => lab(through(EYES[eyes] ?? [], linear(color))));
    for (const [index, one] of seen.entries()) {
      for (const other of seen.slice(index + 1)) expect(Math.hypot(...one.map((value, axis) => value - (other[axis] ?? 0)))).toBeGreaterThan(9);
    }
  });
});

test("runs whose colours repeat have other strokes", () => {
  expect(runDash(LIGHT.length)).toEqual([]);
  expect(new Set([1, 2, 3, 4].map((round) => runDash(round * LIGHT.length).join())).size).toBe(4);
});

function linear(color: string): Triple {
  const part = (at: number): number => {
    const value = Number.parseInt(color.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return [part(1), part(3), part(5)];
}

function through(matrix: readonly Triple[], color: Triple): Triple {
  const row = (at: number): number => {
    const [r, g, b] = matrix[at] ?? [0, 0, 0];
    return Math.min(1, Math.max(0, r * color[0] + g * color[1] + b * color[2]));
  };
  return [row(0), row(1), row(2)];
}

function luminance([r, g, b]: Triple): number {
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: string, other: string): number {
  const [low = 0, high = 0] = [luminance(linear(one)), luminance(linear(other))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function lab([r, g, b]: Triple): Triple {
  const bend = (value: number): number => (value > 216 / 24_389 ? Math.cbrt(value) : ((24_389 / 27) * value + 16) / 116);
  const x = bend((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047);
  const y = bend(luminance([r, g, b]));
  const z = bend((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

test("a legend shows the pattern of the stroke", () => {
  expect(strokeGround("#111111", [])).toBe("#111111");
  expect(strokeGround("#111111", [9, 4, 2, 4])).toBe(
    "repeating-linear-gradient(90deg, #111111 0px 9px, transparent 9px 13px, #111111 13px 15px, transparent 15px 19px)",
  );
});
