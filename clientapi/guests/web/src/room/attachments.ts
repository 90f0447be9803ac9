// Attachments of encrypted rooms: AES-CTR with a key for each file, in the event.
//
// Spec: client-server v1.19 §sending-encrypted-attachments

export interface EncryptedFile {
    url: string;
    key: JsonWebKey;
    iv: string;
    hashes: { sha256?: string };
    v: string;
}

const toBase64 = (bytes: Uint8Array) => {
    let binary = "";
    for (const byte of bytes) binary += String.fromCharCode(byte);
    return btoa(binary).replace(/=+$/, "");
};

const fromBase64 = (text: string): Uint8Array<ArrayBuffer> => {
    const binary = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(binary, (c) => c.charCodeAt(0));
};

async function sha256(data: ArrayBuffer): Promise<string> {
    return toBase64(new Uint8Array(await crypto.subtle.digest("SHA-256", data)));
}

/** Encrypts a file; the address is to be filled in when it is uploaded. */
export async function encryptAttachment(plain: ArrayBuffer): Promise<{ data: ArrayBuffer; file: Omit<EncryptedFile, "url"> }> {
    const iv = new Uint8Array(16);
    crypto.getRandomValues(iv.subarray(0, 8)); // the other half counts blocks
    const key = await crypto.subtle.generateKey({ name: "AES-CTR", length: 256 }, true, ["encrypt", "decrypt"]);
    const data = await crypto.subtle.encrypt({ name: "AES-CTR", counter: iv, length: 64 }, key, plain);
    const { k } = await crypto.subtle.exportKey("jwk", key);
    return {
        data,
        file: {
            v: "v2",
            key: { alg: "A256CTR", ext: true, k, key_ops: ["encrypt", "decrypt"], kty: "oct" },
            iv: toBase64(iv),
            hashes: { sha256: await sha256(data) },
        },
    };
}

/** Decrypts a file, if it is the one that the event speaks of. */
export async function decryptAttachment(data: ArrayBuffer, file: EncryptedFile): Promise<ArrayBuffer> {
    if (file.v !== "v2" || !file.hashes?.sha256) throw new Error("unknown kind of encrypted file");
    if ((await sha256(data)) !== file.hashes.sha256.replace(/=+$/, "")) throw new Error("the file is not the one that was sent");
    const key = await crypto.subtle.importKey("jwk", file.key, { name: "AES-CTR" }, false, ["decrypt"]);
    return crypto.subtle.decrypt({ name: "AES-CTR", counter: fromBase64(file.iv), length: 64 }, key, data);
}
