// The page that is the whole Hydrogen client; chat.mjs bundles and serves it.

import {
    createNavigation, createRouter, FeatureSet, Platform, RootView, RootViewModel,
} from "hydrogen-view-sdk";

const platform = new Platform({
    container: document.querySelector("#app"),
    assetPaths: {
        downloadSandbox: "/assets/download-sandbox.html",
        worker: "/assets/main.js",
        olm: { wasm: "/olm/olm.wasm", legacyBundle: "/olm/olm_legacy.js", wasmBundle: "/olm/olm.js" },
        serviceWorker: "/sw.js",
    },
    config: { defaultHomeServer: window.homeserver, themeManifests: [] },
    options: { development: true },
});
const navigation = createNavigation();
platform.setNavigation(navigation);
const urlRouter = createRouter({ navigation, history: platform.history });
urlRouter.attach();
const features = await FeatureSet.load(platform.settingsStorage);
const root = new RootViewModel({ platform, urlRouter, urlCreator: urlRouter, navigation, features });
await root.load();
document.querySelector("#app").appendChild(new RootView(root).mount());
