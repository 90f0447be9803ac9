import type { RoomTexts } from "../i18n/index.tsx";

export const fr: RoomTexts = {
    "room.message": "Message",
};
