import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { defineConfig } from "vite";

const here = import.meta.dirname;

/** Every file that the bundle is made of, in order. */
function sources() {
  const found = ["index.html", "docs.html", "package.json", "package-lock.json", "vite.config.mjs"];
  const walk = (folder) => {
    for (const name of readdirSync(folder).sort()) {
      const path = join(folder, name);
      if (statSync(path).isDirectory()) walk(path);
      else found.push(relative(here, path).split(sep).join("/"));
    }
  };
  walk(join(here, "src"));
  walk(join(here, "public"));
  return found;
}

/** Says in the bundle, and at length beside it, whose code is in it. */
function notices() {
  return {
    name: "notices",
    generateBundle(_, bundle) {
      const text = readFileSync(join(here, "node_modules/three/LICENSE"), "utf8");
      for (const file of Object.values(bundle)) {
        if (file.type === "chunk" && file.moduleIds.some((id) => id.includes("/node_modules/three/"))) {
          file.code = `/* Contains three.js (SPDX-License-Identifier: MIT): see licenses.txt. */\n${file.code}`;
        }
      }
      this.emitFile({ type: "asset", fileName: "licenses.txt", source: `three.js\n\n${text}` });
    },
  };
}

/** Writes what the bundle was made of beside it, so that a test can tell a stale one. */
function fingerprint() {
  return {
    name: "fingerprint",
    generateBundle() {
      const hash = createHash("sha256");
      for (const name of sources()) hash.update(name).update("\0").update(readFileSync(join(here, name)));
      this.emitFile({ type: "asset", fileName: "sources.sha256", source: `${hash.digest("hex")}\n` });
    },
  };
}

export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/motiongpt3/web/static",
    emptyOutDir: true,
    target: "es2022",
    chunkSizeWarningLimit: 900,
    rollupOptions: {
      input: { app: join(here, "index.html"), docs: join(here, "docs.html") },
      output: {
        entryFileNames: "assets/[name].js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/[name][extname]",
      },
    },
  },
  plugins: [notices(), fingerprint()],
  server: { proxy: { "/api": "http://127.0.0.1:8888", "/ready": "http://127.0.0.1:8888" } },
});
