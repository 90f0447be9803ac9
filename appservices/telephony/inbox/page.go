package inbox

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net"
	"net/http"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

//go:embed inbox.html
var page string

// pagePolicy lets the page run its own script and style, by their hashes, and show mails in a frame.
var pagePolicy = "default-src 'none'; script-src " + hashOf("script") + "; style-src " + hashOf("style") +
	"; connect-src 'self'; frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// mailPolicy shows a mail as a mail program does: it runs nothing, and is of no origin.
const mailPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; " +
	"sandbox allow-popups allow-popups-to-escape-sandbox"

// hashOf is the source expression for what is in an element of the page.
func hashOf(element string) string {
	_, after, _ := strings.Cut(page, "<"+element+">")
	text, _, _ := strings.Cut(after, "</"+element+">")
	hash := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}

// Routes are the page and what it is made of. They ask for no token: serve them on a machine of one's own only.
func (i *Inbox) Routes() []httpapi.Route {
	const root = "/_roomline/dev/inbox"
	return []httpapi.Route{
		{Method: http.MethodGet, Path: root, Handle: i.getPage},
		{Method: http.MethodGet, Path: root + ".json", Handle: i.getList},
		{Method: http.MethodGet, Path: root + "/{id}/mail", Handle: i.getMail},
		{Method: http.MethodGet, Path: root + "/{id}/source", Handle: i.getSource},
	}
}

// answer begins an answer. That everybody's pages may read what a server answers is for clients; this is for nobody else. A page of somebody else's whose name
// leads here all of a sudden is refused.
func (i *Inbox) answer(c *httpapi.Call, contentType, policy string) error {
	h := c.W.Header()
	h.Del("Access-Control-Allow-Origin")
	host := c.Request.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host != "localhost" && host != i.host && net.ParseIP(strings.Trim(host, "[]")) == nil {
		return matrix.Forbidden("the development inbox is not at this address")
	}
	h.Set("Content-Type", contentType)
	if policy != "" {
		h.Set("Content-Security-Policy", policy)
	}
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	return nil
}

// getPage serves the page.
func (i *Inbox) getPage(_ context.Context, c *httpapi.Call) (any, error) {
	const contentType = "text/html; charset=utf-8"
	if err := i.answer(c, contentType, pagePolicy); err != nil {
		return nil, err
	}
	return httpapi.Content{Type: contentType, Bytes: []byte(page)}, nil
}

type listResponse struct {
	Messages []Item `json:"messages"`
}

// getList lists the messages, the newest first. With address, only those to it.
func (i *Inbox) getList(_ context.Context, c *httpapi.Call) (any, error) {
	if err := i.answer(c, "application/json", ""); err != nil {
		return nil, err
	}
	answer := listResponse{Messages: []Item{}}
	for _, item := range i.list() {
		if to := c.Query("address"); to == "" || to == item.To {
			item.HTML, item.Source = "", "" // the page asks for them
			answer.Messages = append(answer.Messages, item)
		}
	}
	return answer, nil
}

// mail is the mail of the path.
func (i *Inbox) mail(c *httpapi.Call) (Item, error) {
	item, ok := i.get(c.Path("id"))
	if !ok || item.HTML == "" {
		return Item{}, matrix.NotFound("there is no such mail")
	}
	return item, nil
}

// getMail shows a mail.
func (i *Inbox) getMail(_ context.Context, c *httpapi.Call) (any, error) {
	const contentType = "text/html; charset=utf-8"
	if err := i.answer(c, contentType, mailPolicy); err != nil {
		return nil, err
	}
	item, err := i.mail(c)
	if err != nil {
		return nil, err
	}
	return httpapi.Content{Type: contentType, Bytes: []byte(item.HTML)}, nil
}

// getSource sends a mail as a mail server gets it, to open it in a mail program.
func (i *Inbox) getSource(_ context.Context, c *httpapi.Call) (any, error) {
	const contentType = "message/rfc822"
	if err := i.answer(c, contentType, ""); err != nil {
		return nil, err
	}
	item, err := i.mail(c)
	if err != nil {
		return nil, err
	}
	c.W.Header().Set("Content-Disposition", `attachment; filename="mail.eml"`)
	return httpapi.Content{Type: contentType, Bytes: []byte(item.Source)}, nil
}
