package preview

import (
	"io"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/html"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/strictjson"
)

// page is what is found in a page.
type page struct {
	// meta has the first value of each name in wanted; "title" is the element.
	meta map[string]string
	// oembed and baseHref are links as they stand in the page.
	oembed, baseHref string
}

// wanted are the names of meta elements that mean something to us.
var wanted = []string{
	"og:title", "og:description", "og:image", "og:image:url", "og:image:secure_url", "og:image:alt", "og:site_name", "og:type", "og:url",
	"twitter:title", "twitter:description", "twitter:image", "twitter:image:src", "twitter:image:alt", "description",
}

// longest bounds a value before it is cleaned: no more of it can be told.
const longest = 4 * max(limits.PreviewURL, limits.PreviewText)

func (p *page) put(name, value string) {
	if p.meta == nil {
		p.meta = map[string]string{}
	}
	if value = strings.TrimSpace(value); p.meta[name] == "" && len(value) <= longest {
		p.meta[name] = value
	}
}

// first is the first of the names that has a value.
func (p *page) first(names ...string) string {
	for _, name := range names {
		if value := p.meta[name]; value != "" {
			return value
		}
	}
	return ""
}

func (p *page) image() string {
	return p.first("og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src", "image_src")
}

// base is what links of the page are relative to.
func (p *page) base(u *url.URL) *url.URL {
	if base := resolve(u, p.baseHref); base != nil {
		return base
	}
	return u
}

// readPage reads tokens until the head ends, or on into the body while there is no title.
func readPage(r io.Reader) page {
	var p page
	z := html.NewTokenizer(r)
	for {
		switch z.Next() {
		case html.ErrorToken:
			return p
		case html.StartTagToken, html.SelfClosingTagToken:
			name, hasAttributes := z.TagName()
			switch string(name) {
			case "title":
				if p.meta["title"] == "" && z.Next() == html.TextToken {
					p.put("title", string(z.Text()))
				}
			case "meta", "link", "base":
				if hasAttributes {
					p.element(string(name), attributes(z))
				}
			case "body":
				if p.first("og:title", "twitter:title", "title") != "" {
					return p
				}
			}
		case html.EndTagToken:
			if name, _ := z.TagName(); string(name) == "head" && p.first("og:title", "twitter:title", "title") != "" {
				return p
			}
		}
	}
}

// attributes reads those attributes of an element that matter.
func attributes(z *html.Tokenizer) map[string]string {
	all := map[string]string{}
	for more := true; more; {
		var name, value []byte
		name, value, more = z.TagAttr()
		switch key := string(name); key {
		case "property", "name", "content", "rel", "type", "href":
			if _, twice := all[key]; !twice {
				all[key] = string(value)
			}
		}
	}
	return all
}

func (p *page) element(name string, attribute map[string]string) {
	switch name {
	case "meta":
		for _, key := range []string{attribute["property"], attribute["name"]} {
			if key = strings.ToLower(strings.TrimSpace(key)); slices.Contains(wanted, key) {
				p.put(key, attribute["content"])
			}
		}
	case "base":
		if p.baseHref == "" {
			p.baseHref = attribute["href"]
		}
	case "link":
		kinds := strings.Fields(strings.ToLower(attribute["rel"]))
		if slices.Contains(kinds, "image_src") {
			p.put("image_src", attribute["href"])
		}
		if slices.Contains(kinds, "alternate") && strings.EqualFold(attribute["type"], "application/json+oembed") && p.oembed == "" {
			p.oembed = attribute["href"]
		}
	}
}

// oEmbedAnswer is what a provider says (oembed.com, version 1.0).
type oEmbedAnswer struct {
	Type         string `json:"type"`
	Title        string `json:"title"`
	AuthorName   string `json:"author_name"`
	ProviderName string `json:"provider_name"`
	ThumbnailURL string `json:"thumbnail_url"`
	URL          string `json:"url"`
	HTML         string `json:"html"`
}

// oEmbed adds what the provider says and the page did not. That it does not answer is no reason to have no preview.
func (v visit) oEmbed(p *page, link *url.URL) {
	resp, from, err := v.get(link, "application/json")
	if err != nil {
		return
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limits.PreviewOEmbed+1))
	if err != nil || len(raw) > limits.PreviewOEmbed {
		return
	}
	var answer oEmbedAnswer
	if strictjson.Decode(raw, &answer) != nil {
		return
	}
	title := answer.Title
	if title == "" {
		title = answer.AuthorName
	}
	p.put("og:title", title)
	p.put("og:site_name", answer.ProviderName)
	picture := answer.ThumbnailURL
	if answer.Type == "photo" {
		picture = answer.URL
	}
	if absolute := resolve(from, picture); absolute != nil && p.image() == "" {
		p.put("og:image", absolute.String())
	}
	if answer.Type == "rich" && p.first("og:description", "twitter:description", "description") == "" {
		p.put("og:description", textOf(answer.HTML))
	}
}

// textOf is the text of a piece of HTML.
func textOf(markup string) string {
	var text strings.Builder
	z := html.NewTokenizer(strings.NewReader(markup))
	hidden := false
	for text.Len() < longest {
		switch z.Next() {
		case html.ErrorToken:
			return text.String()
		case html.StartTagToken:
			name, _ := z.TagName()
			hidden = string(name) == "script" || string(name) == "style"
			text.WriteByte(' ')
		case html.EndTagToken:
			hidden = false
			text.WriteByte(' ')
		case html.TextToken:
			if !hidden {
				text.Write(z.Text())
			}
		}
	}
	return text.String()
}

// clean makes one line of a text, without what draws it in another direction or not at all, and not longer than most characters.
func clean(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0xfeff:
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most-1]) + "…"
	}
	return text
}
