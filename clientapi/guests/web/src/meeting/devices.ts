// Cameras, microphones and loudspeakers: which there are, which one chose, and why one does not work.

import { useEffect, useState } from "react";

import { storePrefix, type Session } from "../session.ts";

/** What one chose the last time. */
export interface Choices {
    readonly microphone: boolean;
    readonly camera: boolean;
    readonly audioinput?: string;
    readonly videoinput?: string;
    readonly audiooutput?: string;
}

const first: Choices = { microphone: true, camera: true };
const key = (session: Session) => `${storePrefix(session)}/devices`;

export function loadChoices(session: Session): Choices {
    try {
        return { ...first, ...JSON.parse(localStorage.getItem(key(session)) ?? "{}") as Choices };
    } catch {
        return first;
    }
}

export const keepChoices = (session: Session, choices: Choices): void => localStorage.setItem(key(session), JSON.stringify(choices));

export type DeviceProblem = "refused" | "none" | "busy" | "failed";

/** Why a device could not be had. */
export function deviceProblem(error: unknown): DeviceProblem {
    switch ((error as { name?: string } | null)?.name) {
        case "NotAllowedError":
        case "SecurityError": return "refused";
        case "NotFoundError":
        case "OverconstrainedError": return "none";
        case "NotReadableError":
        case "AbortError": return "busy";
        default: return "failed";
    }
}

/** The devices of a kind that can be chosen; none says that there is no such device, rather than that it is not known yet. */
export interface Devices {
    readonly list: readonly MediaDeviceInfo[];
    readonly none: boolean;
}

/** Until one is allowed, browsers say that there are devices, and neither which nor what they are called. */
export function devicesOf(kind: MediaDeviceKind, all: readonly MediaDeviceInfo[] | undefined): Devices {
    const known = all?.filter((one) => one.kind === kind);
    return { list: known?.filter(({ deviceId }) => deviceId !== "") ?? [], none: known?.length === 0 };
}

/** The devices that there are. They have names once one of them was allowed. */
export function useDevices(again: unknown): Record<MediaDeviceKind, Devices> {
    const [devices, setDevices] = useState<readonly MediaDeviceInfo[]>();
    useEffect(() => {
        let over = false;
        const look = () => void navigator.mediaDevices.enumerateDevices().then((all) => !over && setDevices(all), () => {});
        look();
        navigator.mediaDevices.addEventListener("devicechange", look);
        return () => {
            over = true;
            navigator.mediaDevices.removeEventListener("devicechange", look);
        };
    }, [again]);
    return { audioinput: devicesOf("audioinput", devices), videoinput: devicesOf("videoinput", devices), audiooutput: devicesOf("audiooutput", devices) };
}

/** How loud a microphone is, 0 to 1, some times a second. */
export function watchLevel(track: MediaStreamTrack, show: (level: number) => void): () => void {
    const context = new AudioContext();
    const analyser = new AnalyserNode(context, { fftSize: 512, smoothingTimeConstant: 0.5 });
    const source = context.createMediaStreamSource(new MediaStream([track]));
    source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
        analyser.getFloatTimeDomainData(samples);
        const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
        show(Math.max(0, Math.min(1, 1 + Math.log10(Math.sqrt(power) + 1e-4) / 3)));
    }, 80);
    return () => {
        clearInterval(timer);
        source.disconnect();
        void context.close();
    };
}
