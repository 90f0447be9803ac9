import type { RoomTexts } from "../i18n/index.tsx";

export const de: RoomTexts = {
    "room.message": "Message",
};
