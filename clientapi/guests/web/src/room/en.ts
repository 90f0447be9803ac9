// What the room says.
export const en = {
    "room.message": "Message",
};
