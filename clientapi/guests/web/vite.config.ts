import { defineConfig, type Plugin } from "vite";

/** The client and what is seen of a session are needed by whoever opens the page: they are fetched beside its beginning, and after it. */
const early: Plugin = {
    name: "early",
    transformIndexHtml: {
        order: "post",
        handler(html, { bundle }) {
            const files = new Set<string>();
            const add = (file: string) => {
                const chunk = bundle?.[file];
                if (chunk?.type !== "chunk" || files.has(file) || html.includes(file)) return;
                files.add(file);
                chunk.imports.forEach(add);
            };
            for (const chunk of Object.values(bundle ?? {})) {
                if (chunk.type === "chunk" && /\/src\/(client\.ts|Inside\.tsx)$/.test(chunk.facadeModuleId ?? "")) add(chunk.fileName);
            }
            return [...files].map((file) => ({ tag: "link", attrs: { rel: "modulepreload", crossorigin: true, fetchpriority: "low", href: `/i/${file}` }, injectTo: "head" as const }));
        },
    },
};

// The page has one address, /i; what it loads is below /i/assets with a hash in its name, so that browsers keep it for good.
export default defineConfig({
    base: "/i/",
    publicDir: false,
    plugins: [early],
    worker: { format: "es" },
    build: {
        outDir: "build",
        emptyOutDir: true,
        manifest: "manifest.json",
        target: "es2022",
        assetsInlineLimit: 0, // a data: address would need a hole in the Content-Security-Policy
        modulePreload: { polyfill: false },
        chunkSizeWarningLimit: 2000, // pack.mjs has the limit that counts
        rollupOptions: {
            output: {
                // Both are needed together, and change less often than what is ours.
                manualChunks: (id) => (/node_modules\/(react|react-dom|scheduler)\//.test(id) ? "react" : undefined),
            },
        },
    },
});
