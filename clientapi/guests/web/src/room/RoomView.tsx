import type { MatrixClient } from "matrix-js-sdk";

import type { Organisation, Session } from "../session.ts";

export interface RoomViewProps {
    /** Started; the room may not have come by sync yet. Its crypto is there if a room of the session is encrypted. */
    readonly client: MatrixClient;
    readonly session: Session;
    readonly roomId: string;
    readonly organisation?: Organisation;
    /** Back to the list of rooms; absent where there is none. */
    onBack?(): void;
    /** Opens the dialog for inviting; absent for guests. */
    onInvite?(): void;
    /** The person is no longer in the room. */
    onEnded(how: "left" | "removed"): void;
    onSignOut(): void;
}

/** A room: its timeline, what one writes, who is there. */
export default function RoomView(_: RoomViewProps) {
    return <main id="main" tabIndex={-1} />;
}
