import { createContext } from "react";
import type { MatrixClient, MatrixEvent, Room } from "matrix-js-sdk";

import type { Media } from "./media.ts";

/** What every component of a room needs. */
export interface RoomScope {
    client: MatrixClient;
    room: Room;
    media: Media;
    /** Says something to who uses a screen reader. */
    announce: (text: string) => void;
    jumpTo: (eventId: string) => void;
    open: (event: MatrixEvent) => void;
}

export const RoomContext = createContext<RoomScope>(null as unknown as RoomScope);
