import "./style/tokens.css";
import "./style/base.css";
import "./style/screens.css";
import "./style/member.css";

import { createRoot } from "react-dom/client";

import { App } from "./App.tsx";

createRoot(document.getElementById("page")!).render(<App />);
