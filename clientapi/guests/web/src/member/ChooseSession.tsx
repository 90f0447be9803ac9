import { useTranslation } from "../i18n/index.tsx";
import { Avatar } from "../parts/Avatar.tsx";
import { Frame, Heading } from "../parts/Frame.tsx";
import { type Session, sessionKey } from "../session.ts";

interface ChooseSessionProps {
    readonly sessions: readonly Session[];
    onChoose(session: Session): void;
    onSignIn(): void;
}

/** This browser has more than one session: a guest of two organisations, or a member who is a guest elsewhere. */
export function ChooseSession({ sessions, onChoose, onSignIn }: ChooseSessionProps) {
    const { t } = useTranslation();
    return (
        <Frame footer={<button type="button" className="button plain small" onClick={onSignIn}>{t("signin.other")}</button>}>
            <div className="introduction"><Heading title={t("choose.title")}>{t("choose.title")}</Heading></div>
            <ul className="choices">
                {sessions.map((session) => {
                    const name = session.guest?.roomName ?? session.guest?.organisation?.name ?? session.userId;
                    return (
                        <li key={sessionKey(session)}>
                            <button type="button" className="room-button" onClick={() => onChoose(session)}>
                                <Avatar name={name} />
                                <span className="room-button-text">
                                    <span className="room-button-name">{name}</span>
                                    <span className="muted small">{session.guest ? t("choose.guest", { organisation: session.guest.organisation?.name ?? "" }) : t("choose.member")}</span>
                                </span>
                            </button>
                        </li>
                    );
                })}
            </ul>
        </Frame>
    );
}
