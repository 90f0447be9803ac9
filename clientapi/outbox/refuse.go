package outbox

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
)

// Who gets a mail that somebody else asked for can say that no more are wanted, from anybody here. The link in the mail holds the address,
// encrypted, so that it stays good for ever and says nothing to whoever reads it on its way.

const refusePath = "/_roomline/guest/v1/refuse/"

// refusalBound is what the links are bound to.
const refusalBound = "refuse"

func (s *Server) refusalRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: http.MethodGet, Path: refusePath + "{token}", Auth: httpapi.NoAuth, Limit: ratelimit.Read, Handle: s.showRefusal},
		// AnyBody: a form of a browser, or of a mail program (RFC 8058).
		{Method: http.MethodPost, Path: refusePath + "{token}", Auth: httpapi.NoAuth, Limit: ratelimit.Read, AnyBody: true, MaxBody: 4096, Handle: s.refuse},
	}
}

// refuseURL is where whoever has an address refuses messages.
func (s *Server) refuseURL(language, medium, address string) string {
	token := s.links.Seal([]byte(language+"\x00"+medium+"\x00"+address), refusalBound)
	return strings.TrimSuffix(s.cfg.BaseURL, "/") + refusePath + base64.RawURLEncoding.EncodeToString(token)
}

// refusal is what a link says.
type refusal struct{ language, medium, address string }

func (s *Server) readRefusal(c *httpapi.Call) (refusal, bool) {
	token, err := base64.RawURLEncoding.DecodeString(c.Path("token"))
	if err != nil {
		return refusal{language: "en"}, false
	}
	text, err := s.links.Open(token, refusalBound)
	parts := strings.Split(string(text), "\x00")
	if err != nil || len(parts) != 3 {
		return refusal{language: "en"}, false
	}
	return refusal{parts[0], parts[1], parts[2]}, true
}

// showRefusal asks whether it is meant: programs that look into mails follow links, and refuse nothing by that.
func (s *Server) showRefusal(_ context.Context, c *httpapi.Call) (any, error) {
	r, ok := s.readRefusal(c)
	if !ok {
		return nil, showRefusalPage(c, http.StatusNotFound, "unknown", r)
	}
	return nil, showRefusalPage(c, http.StatusOK, "ask", r)
}

// refuse notes that an address wants nothing any more.
//
// Spec: RFC 8058: the same request comes from the button of a mail program.
func (s *Server) refuse(ctx context.Context, c *httpapi.Call) (any, error) {
	r, ok := s.readRefusal(c)
	if !ok {
		return nil, showRefusalPage(c, http.StatusNotFound, "unknown", r)
	}
	if err := s.cfg.Store.InsertRefusal(ctx, s.refusalHash(r.medium, r.address), s.now()); err != nil {
		return nil, fmt.Errorf("store a refusal: %w", err)
	}
	return nil, showRefusalPage(c, http.StatusOK, "done", r)
}

// mask is an address that its owner knows again.
func mask(address string) string {
	local, domain, isEmail := strings.Cut(address, "@")
	first := func(s string) string {
		for _, r := range s {
			return string(r)
		}
		return ""
	}
	if !isEmail {
		return "…" + address[max(len(address)-2, 0):]
	}
	return first(local) + "…@" + first(domain) + "…"
}

// refusalTexts are the words of the pages, by language.
var refusalTexts = map[string]map[string]string{
	"en": {
		"title": "No more invitations", "ask": "Do you want no more invitations to %s, from anybody on this server?", "button": "No more invitations",
		"codes": "Codes that you ask for yourself still come.", "done": "No more invitations are sent to %s.", "unknown": "This link is not a good one. Copy it from the message once more.",
	},
	"fr": {
		"title": "Plus d’invitations", "ask": "Ne plus recevoir d’invitations à l’adresse %s, de qui que ce soit sur ce serveur ?", "button": "Plus d’invitations",
		"codes": "Les codes que vous demandez vous-même arrivent toujours.", "done": "Plus aucune invitation ne sera envoyée à %s.", "unknown": "Ce lien n’est pas valable. Copiez-le encore une fois depuis le message.",
	},
	"nl": {
		"title": "Geen uitnodigingen meer", "ask": "Wilt u op %s geen uitnodigingen meer krijgen, van niemand op deze server?", "button": "Geen uitnodigingen meer",
		"codes": "Codes die u zelf aanvraagt, komen nog wel.", "done": "Er worden geen uitnodigingen meer gestuurd naar %s.", "unknown": "Deze link klopt niet. Kopieer hem nog eens uit het bericht.",
	},
	"de": {
		"title": "Keine Einladungen mehr", "ask": "Möchten Sie an %s keine Einladungen mehr bekommen, von niemandem auf diesem Server?", "button": "Keine Einladungen mehr",
		"codes": "Codes, die Sie selbst anfordern, kommen weiterhin.", "done": "An %s werden keine Einladungen mehr geschickt.", "unknown": "Dieser Link stimmt nicht. Kopieren Sie ihn noch einmal aus der Nachricht.",
	},
}

var refusalPage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="{{.Language}}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex"><title>{{.Title}}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1rem}</style></head><body><main><h1>{{.Title}}</h1><p>{{.Text}}</p>
{{if .Button}}<form method="post"><button type="submit">{{.Button}}</button></form>{{end}}{{if .Codes}}<p>{{.Codes}}</p>{{end}}</main></body></html>
`))

func showRefusalPage(c *httpapi.Call, status int, which string, r refusal) error {
	texts := refusalTexts[r.language]
	if texts == nil {
		return matrix.NotFound("there is no such page")
	}
	page := struct{ Language, Title, Text, Button, Codes string }{Language: r.language, Title: texts["title"], Text: texts[which]}
	switch which {
	case "ask":
		page.Button = texts["button"]
		fallthrough
	case "done":
		page.Text, page.Codes = fmt.Sprintf(page.Text, mask(r.address)), texts["codes"]
	}
	var b bytes.Buffer
	if err := refusalPage.Execute(&b, page); err != nil {
		return fmt.Errorf("write the page for refusals: %w", err)
	}
	h := c.W.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
	c.W.WriteHeader(status)
	_, _ = c.W.Write(b.Bytes()) // a browser that has gone is no event
	return nil
}
