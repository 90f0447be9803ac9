/** A picture, or else the first letter of a name. */
export function Avatar({ name, url }: { readonly name: string; readonly url?: string }) {
    const letter = [...name.replace(/^[@#!\s]+/, "")][0]?.toLocaleUpperCase() ?? "?";
    return <span className="avatar" aria-hidden="true">{url ? <img src={url} alt="" /> : letter}</span>;
}
