import { Component, type ReactNode } from "react";

import { useWords } from "./words.ts";

/** What others sent must not take the page down: if it can't be drawn, it is said so in its place. */
export class Guard extends Component<{ children: ReactNode }, { failed: boolean }> {
    override state = { failed: false };

    static getDerivedStateFromError() {
        return { failed: true };
    }

    override render() {
        return this.state.failed ? <Unknown /> : this.props.children;
    }
}

function Unknown() {
    return <p className="rl-lost">{useWords()("room.unknown")}</p>;
}
