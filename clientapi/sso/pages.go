package sso

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// The few pages that a person sees here. They load nothing and run nothing.
var pages = template.Must(template.New("").Parse(`
{{define "top"}}<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sign in</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}
a.button{display:block;margin:1rem 0;padding:.6rem 1rem;border:1px solid;border-radius:.4rem;text-align:center;text-decoration:none}
code{overflow-wrap:anywhere}</style></head><body>{{end}}
{{define "choose"}}{{template "top"}}<h1>Sign in</h1>{{range .}}<a class="button" href="{{.Link}}">{{.Name}}</a>{{end}}</body></html>{{end}}
{{define "confirm"}}{{template "top"}}<h1>Continue?</h1><p>You are signed in as <code>{{.User}}</code>. The following gets access to this account:</p>
<p><code>{{.Where}}</code></p><p>If you did not expect this, close this page.</p><a class="button" href="{{.Link}}">Continue</a></body></html>{{end}}
{{define "refused"}}{{template "top"}}<h1>You are not signed in</h1><p>{{.}}</p></body></html>{{end}}
`))

// show writes a page. Its address may hold a code or a token, so it is kept nowhere and named to nobody.
func show(c *httpapi.Call, status int, page string, data any) error {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, page, data); err != nil {
		return fmt.Errorf("write page %s: %w", page, err)
	}
	h := c.W.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	c.W.WriteHeader(status)
	_, _ = c.W.Write(b.Bytes()) // a browser that has gone is no event
	return nil
}

// choose lets the user choose a provider.
func (s *Server) choose(c *httpapi.Call, target, action string) error {
	type choice struct{ Name, Link string }
	var choices []choice
	for _, p := range s.providers {
		q := url.Values{"redirectUrl": {target}}
		if action != "" {
			q.Set("action", action)
		}
		choices = append(choices, choice{p.Name, "/_matrix/client/v3/login/sso/redirect/" + url.PathEscape(p.ID) + "?" + q.Encode()})
	}
	return show(c, http.StatusOK, "choose", choices)
}

// confirm asks whether the client is meant to get the account.
func (s *Server) confirm(c *httpapi.Call, user matrix.UserID, target *url.URL, token string) error {
	where := target.Scheme + "://" + target.Host
	if target.Host == "" {
		where = target.Scheme + ":"
	}
	return show(c, http.StatusOK, "confirm", map[string]any{
		// parseTarget has refused the schemes that the template would, and apps have others.
		"User": user, "Where": where, "Link": template.URL(withToken(target, token)),
	})
}

func (s *Server) apologise(c *httpapi.Call, r *refusal) error {
	return show(c, r.status, "refused", r.why)
}
