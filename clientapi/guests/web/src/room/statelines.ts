// A sentence about a change of the room.

import type { MatrixEvent, Room } from "matrix-js-sdk";

import { memberName } from "./people.tsx";
import type { T } from "./words.ts";

export function stateLine(event: MatrixEvent, room: Room, t: T): string {
    const who = event.sender?.name ?? memberName(room, event.getSender()!);
    const content = event.getContent(), before = event.getPrevContent();
    switch (event.getType()) {
        case "m.room.member": return memberLine(event, room, t);
        case "m.room.create": return t("room.line.create", { who });
        case "m.room.name": return content.name ? t("room.line.name", { who, name: content.name }) : t("room.line.name.none", { who });
        case "m.room.topic": return content.topic ? t("room.line.topic", { who, topic: content.topic }) : t("room.line.topic.none", { who });
        case "m.room.avatar": return t("room.line.avatar", { who });
        case "m.room.encryption": return before.algorithm ? t("room.line.encryption.changed", { who }) : t("room.line.encryption", { who });
        case "m.room.power_levels": return t("room.line.powers", { who });
        case "m.room.third_party_invite": return t("room.line.invited", { who, whom: content.display_name ?? "…" });
        case "m.room.tombstone": return t("room.line.tombstone", { who });
    }
    return "";
}

function memberLine(event: MatrixEvent, room: Room, t: T): string {
    const content = event.getContent(), before = event.getPrevContent();
    const who = event.sender?.name ?? memberName(room, event.getSender()!);
    const whom = content.displayname || before.displayname || event.getStateKey()!;
    const self = event.getSender() === event.getStateKey();
    const reason = typeof content.reason === "string" && content.reason ? ` (${content.reason})` : "";
    switch (content.membership) {
        case "join":
            if (before.membership !== "join") return t("room.line.joined", { who: whom });
            if (content.displayname !== before.displayname) {
                return t("room.line.renamed", { who: before.displayname || event.getStateKey()!, name: content.displayname || event.getStateKey()! });
            }
            return t("room.line.picture", { who: whom });
        case "invite": return t("room.line.invited", { who, whom });
        case "knock": return t("room.line.knocked", { who: whom });
        case "ban": return t("room.line.banned", { who, whom }) + reason;
        case "leave":
            if (self) return t(before.membership === "invite" ? "room.line.declined" : "room.line.left", { who: whom }) + reason;
            if (before.membership === "ban") return t("room.line.unbanned", { who, whom });
            return t(before.membership === "invite" ? "room.line.withdrawn" : "room.line.removed", { who, whom }) + reason;
    }
    return "";
}
