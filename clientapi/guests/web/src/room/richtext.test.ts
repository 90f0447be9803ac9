import assert from "node:assert/strict";
import test from "node:test";

import { isEmojiOnly, shown, withoutFallback } from "./richtext.tsx";

test("what is not shown is not parsed", () => {
    assert.equal(shown('<p onclick="x()" style="color:red">a<script>b</script></p>'), "<p >a</p>");
    assert.equal(shown("<STYLE>p{}</STYLE><b>c</b><mx-reply>d</mx-reply>"), "<b >c</b>");
    assert.equal(shown('<a title="1 > 0" href="https://example.org/?a=1&b=2" onmouseover=x>l</a>'), '<a title="1 > 0" href="https://example.org/?a=1&b=2">l</a>');
    assert.equal(shown("<font color=red>e</font><svg onload=x>f"), "e");
    assert.equal(shown("1 < 2 and 3 > 2"), "1 < 2 and 3 > 2");
});

test("a long text of tags takes no time", () => {
    const start = performance.now();
    shown("<a ".repeat(30_000));
    shown("<script>".repeat(10_000));
    assert.ok(performance.now() - start < 2_000);
});

test("the quote that old clients put before replies is not shown", () => {
    assert.equal(withoutFallback("> <@a:x> hello\n> more\n\nanswer"), "answer");
    assert.equal(withoutFallback("> a quote of one's own"), "> a quote of one's own");
});

test("a few emoji are shown large, digits are not", () => {
    assert.ok(isEmojiOnly("👍🎉"));
    assert.ok(isEmojiOnly("👨‍👩‍👧"));
    assert.ok(!isEmojiOnly("42"));
    assert.ok(!isEmojiOnly("ok 👍"));
});
