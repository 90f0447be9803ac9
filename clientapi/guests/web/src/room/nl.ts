import type { RoomTexts } from "../i18n/index.tsx";

export const nl: RoomTexts = {
    "room.message": "Message",
};
