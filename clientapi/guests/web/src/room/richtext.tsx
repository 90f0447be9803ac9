// Text of others: plain text with links, and formatted_body as React elements made of a list of allowed tags. Nothing of it is ever
// given to the page as HTML.
//
// Spec: client-server v1.19 §mroommessage-msgtypes

import { Fragment, useState, type ReactNode } from "react";

import { useMedia } from "./media.ts";
import { useWords } from "./words.ts";

const address = /\b(?:https?:\/\/|mailto:)[^\s<>"'\u201c\u201d]+|\bwww\.[a-z0-9-]+\.[^\s<>"']+/gi;

const safeLink = /^(?:https?|mailto|tel):/i;

function Link({ to, children }: { to: string; children: ReactNode }) {
    return <a href={to} target="_blank" rel="noreferrer noopener nofollow">{children}</a>;
}

/** Text in which addresses are links; closing punctuation is not part of one. */
export function linkify(text: string): ReactNode[] {
    const out: ReactNode[] = [];
    let at = 0;
    for (const match of text.matchAll(address)) {
        let found = match[0].replace(/[.,;:!?*_~]+$/, "");
        for (const [open, close] of [["(", ")"], ["[", "]"], ["{", "}"]] as const) {
            while (found.endsWith(close) && found.split(open).length < found.split(close).length) {
                found = found.slice(0, -1);
            }
        }
        const start = match.index;
        if (start > at) out.push(text.slice(at, start));
        out.push(<Link key={start} to={/^www\./i.test(found) ? `https://${found}` : found}>{found}</Link>);
        at = start + found.length;
    }
    if (at < text.length) out.push(text.slice(at));
    return out;
}

/** The text of a message without the quote that old clients put before replies. */
export function withoutFallback(body: string): string {
    if (!body.startsWith("> <") && !body.startsWith("> * <")) return body;
    const lines = body.split("\n");
    while (lines.length && lines[0]!.startsWith("> ")) lines.shift();
    if (lines[0] === "") lines.shift();
    return lines.join("\n");
}

const blocks = new Set(["h1", "h2", "h3", "h4", "h5", "h6", "p", "blockquote", "div", "ul", "ol", "li", "pre", "table", "thead",
    "tbody", "tr", "th", "td", "caption", "hr", "details", "summary"]);
const inline = new Set(["b", "strong", "i", "em", "u", "s", "del", "sup", "sub", "code", "br", "span", "a"]);
const nothing = new Set(["mx-reply", "script", "style", "iframe", "object", "template", "svg", "math", "noscript", "title", "head"]);

const deepest = 60;

function Spoiler({ children, reason }: { children: ReactNode; reason: string }) {
    const t = useWords();
    const [open, setOpen] = useState(false);
    if (open) return <span className="rl-spoiler-open">{children}</span>;
    return (
        <button type="button" className="rl-spoiler" onClick={() => setOpen(true)}>
            {reason ? t("room.spoiler.reason", { reason }) : t("room.spoiler")}
        </button>
    );
}

/** A small picture in the text; only of Matrix media, never from elsewhere. */
function InlineImage({ mxc, alt }: { mxc: string; alt: string }) {
    const { url } = useMedia({ mxc, size: { width: 64, height: 64 } });
    return url ? <img className="rl-inline-image" src={url} alt={alt} /> : <>{alt}</>;
}

function children(node: Node, depth: number): ReactNode[] {
    return [...node.childNodes].map((child, i) => <Fragment key={i}>{element(child, depth + 1)}</Fragment>);
}

function element(node: Node, depth: number): ReactNode {
    if (node.nodeType === Node.TEXT_NODE) {
        const text = node.textContent ?? "";
        return (node.parentElement?.closest("a, code, pre")) ? text : linkify(text);
    }
    if (!(node instanceof Element) || depth > deepest) return null;
    const tag = node.localName;
    if (nothing.has(tag)) return null;
    if (tag === "img") {
        const src = node.getAttribute("src") ?? "";
        const alt = node.getAttribute("alt") || node.getAttribute("title") || "";
        return src.startsWith("mxc://") ? <InlineImage mxc={src} alt={alt} /> : alt;
    }
    const inside = tag === "br" || tag === "hr" ? undefined : children(node, depth);
    if (tag === "a") {
        const href = node.getAttribute("href") ?? "";
        return safeLink.test(href) ? <Link to={href}>{inside}</Link> : <>{inside}</>;
    }
    if (tag === "span" && node.hasAttribute("data-mx-spoiler")) {
        return <Spoiler reason={node.getAttribute("data-mx-spoiler") ?? ""}>{inside}</Spoiler>;
    }
    if (tag === "ol") {
        const start = Number.parseInt(node.getAttribute("start") ?? "1", 10);
        return <ol start={Number.isSafeInteger(start) ? start : 1}>{inside}</ol>;
    }
    if (/^h[1-6]$/.test(tag)) return <p className="rl-heading"><strong>{inside}</strong></p>; // headings are the page's own
    if (["table", "thead", "tbody", "tr"].includes(tag)) { // white space between cells is no child of theirs
        const Tag = tag as "table";
        return <Tag>{[...node.children].map((child, i) => <Fragment key={i}>{element(child, depth + 1)}</Fragment>)}</Tag>;
    }
    if (blocks.has(tag) || inline.has(tag)) {
        const Tag = tag as "span";
        return <Tag>{inside}</Tag>;
    }
    return <>{inside}</>;
}

const tagName = /<(\/?)([a-z][\w-]*)/iy;
const keptAttribute = /\b(href|src|alt|title|start|data-mx-spoiler)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?/gi;

/** Where a tag ends whose attributes begin at a place: a > in quotes is none. */
function tagEnd(html: string, from: number): number {
    let quote = "";
    for (let i = from; i < html.length; i++) {
        const c = html[i]!;
        if (quote) {
            if (c === quote) quote = "";
        } else if (c === ">") {
            return i;
        } else if (c === '"' || c === "'") {
            quote = c;
        }
    }
    return -1;
}

/**
 * Takes tags and attributes out that are not shown anyway. What is shown is decided by element(); this is for the browser, which would
 * report each style and handler in a text against the page's Content-Security-Policy, though none could take effect. One pass, however
 * strange the text is.
 */
export function shown(html: string): string {
    const lower = html.toLowerCase();
    let out = "", at = 0;
    for (let open = html.indexOf("<"); open >= 0; open = html.indexOf("<", at)) {
        out += html.slice(at, open);
        tagName.lastIndex = open;
        const match = tagName.exec(html);
        if (!match) {
            out += "<";
            at = open + 1;
            continue;
        }
        const [whole, slash, name] = match, tag = name!.toLowerCase();
        const end = tagEnd(html, open + whole.length);
        if (end < 0) return out + html.slice(open).replaceAll("<", "&lt;"); // no tag ends any more
        at = end + 1;
        if (nothing.has(tag) && !slash) {
            const close = lower.indexOf(`</${tag}`, at);
            if (close < 0) return out;
            at = close; // its end tag is taken out like others
        } else if (blocks.has(tag) || inline.has(tag) || tag === "img") {
            out += slash ? `</${tag}>` : `<${tag} ${html.slice(open + whole.length, end).match(keptAttribute)?.join(" ") ?? ""}>`;
        }
    }
    return out + html.slice(at);
}

/** The elements for a formatted_body. */
export function RichText({ html }: { html: string }) {
    const body = new DOMParser().parseFromString(shown(html.slice(0, 100_000)), "text/html").body;
    return <>{children(body, 0)}</>;
}

const emojiOnly = /^(?:\p{Extended_Pictographic}|\p{Emoji_Component}|\u200d|\ufe0f|\s)+$/u;

/** A few emoji and nothing else, to be shown large. */
export function isEmojiOnly(text: string): boolean {
    return text.length > 0 && text.length <= 30 && emojiOnly.test(text) && /\p{Extended_Pictographic}|\p{Regional_Indicator}/u.test(text);
}
