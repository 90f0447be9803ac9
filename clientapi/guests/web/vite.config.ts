import { defineConfig } from "vite";

// The page has one address, /i; what it loads is below /i/assets with a hash in its name, so that browsers keep it for good.
export default defineConfig({
    base: "/i/",
    publicDir: false,
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
