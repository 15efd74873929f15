/** Dark or light. */

export type Theme = "dark" | "light";

/** What was chosen on this page before, or else what the visitor's system prefers. */
export function preferredTheme(): Theme {
  const kept = localStorage.getItem("theme");
  if (kept === "dark" || kept === "light") return kept;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
