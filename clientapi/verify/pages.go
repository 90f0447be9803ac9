package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/text/language"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// SubmitPath is where codes are given: by clients, and by people who come from a mail.
const SubmitPath = "/_roomline/client/v1/submitToken"

// link is what a mail shows besides the code. The client's secret is not in it: who has the mail can confirm the address, and no more.
func (v *Verifier) link(r *Request, sid, code string) string {
	if v.base == nil || r.Medium != outbox.Email || r.Purpose == Guest {
		return ""
	}
	return v.base.String() + SubmitPath + "?" + url.Values{"sid": {sid}, "token": {code}, "lang": {r.Language}}.Encode()
}

// SubmitURL is where clients give codes, or empty if the server does not know where it is reached.
func (v *Verifier) SubmitURL() string {
	if v.base == nil {
		return ""
	}
	return v.base.String() + SubmitPath
}

// Host is the site that codes are typed into, as far as the server knows.
func (v *Verifier) Host() string {
	if v.base == nil {
		return ""
	}
	return v.base.Hostname()
}

// nextLink is an address to go on to, if it is one of those that a browser may be sent to; otherwise none, so that a client from elsewhere
// works all the same.
func (v *Verifier) nextLink(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > limits.NextLink || u.Scheme == "" {
		return "", matrix.InvalidParam("next_link must be a URL of at most %d bytes", limits.NextLink)
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.Opaque != "" {
		return "", nil
	}
	if v.base != nil && u.Scheme == v.base.Scheme && strings.EqualFold(u.Host, v.base.Host) {
		return text, nil
	}
	for _, allowed := range v.cfg.Allowed {
		if a, err := url.Parse(allowed); err == nil && a.Scheme == u.Scheme && strings.EqualFold(a.Host, u.Host) && strings.HasPrefix(u.EscapedPath(), a.EscapedPath()) {
			return text, nil
		}
	}
	return "", nil
}

// Languages that people are written to in.
var languages = language.NewMatcher([]language.Tag{language.English, language.French, language.Dutch, language.German})

// Language is the one of en, fr, nl and de that somebody reads best who sends this Accept-Language.
func Language(accept string) string {
	tags, _, err := language.ParseAcceptLanguage(accept)
	if err != nil || len(accept) > 1000 {
		return "en"
	}
	_, i, _ := languages.Match(tags...)
	return [...]string{"en", "fr", "nl", "de"}[i]
}

// pageLanguage is that of the mail that the person comes from.
func pageLanguage(c *httpapi.Call, asked string) string {
	if _, ok := texts[asked]; ok {
		return asked
	}
	return Language(c.Request.Header.Get("Accept-Language"))
}

// ShowPage asks a person who comes from a mail to press a button. It changes nothing: programs open the links of mails, too.
func (v *Verifier) ShowPage(ctx context.Context, c *httpapi.Call) (any, error) {
	t := texts[pageLanguage(c, c.Query("lang"))]
	sid, token := c.Query("sid"), c.Query("token")
	found, err := v.cfg.Store.GetValidation(ctx, sid)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up a validation: %w", err)
	}
	if err != nil || !v.open(found) || token == "" || len(token) > limits.ValidationToken {
		return nil, show(c, http.StatusNotFound, "gone", page{Text: t})
	}
	return nil, show(c, http.StatusOK, "ask", page{
		Text: t, Path: c.Request.URL.Path, SID: sid, Token: token, Secret: c.Query("client_secret"), Password: found.Purpose == string(Password), next: found.NextLink,
	})
}

type submission struct {
	SID          string `json:"sid"`
	ClientSecret string `json:"client_secret"`
	Token        string `json:"token"`
}

type success struct {
	Success bool `json:"success"`
}

// Submit takes a code: from a client as JSON, or from the form of ShowPage.
func (v *Verifier) Submit(ctx context.Context, c *httpapi.Call) (any, error) {
	if kind, _, _ := mime.ParseMediaType(c.Request.Header.Get("Content-Type")); kind == "application/x-www-form-urlencoded" {
		return nil, v.submitForm(ctx, c)
	}
	var s submission
	if err := strictjson.Decode(c.Body, &s); err != nil {
		return nil, err
	}
	if s.SID == "" || s.ClientSecret == "" || s.Token == "" {
		return nil, matrix.MissingParam("sid, client_secret and token are needed")
	}
	if err := v.Check(ctx, s.SID, s.ClientSecret, s.Token); err != nil {
		return nil, err
	}
	return success{true}, nil
}

func (v *Verifier) submitForm(ctx context.Context, c *httpapi.Call) error {
	form, err := url.ParseQuery(string(c.Body))
	if err != nil {
		return matrix.BadJSON("the form cannot be read")
	}
	t := texts[pageLanguage(c, form.Get("lang"))]
	found, err := v.check(ctx, form.Get("sid"), form.Get("client_secret"), form.Get("token"))
	if _, refused := matrix.AsError(err); refused {
		return show(c, http.StatusBadRequest, "gone", page{Text: t})
	}
	if err != nil {
		return err
	}
	if found.NextLink != "" {
		c.W.Header().Set("Location", found.NextLink)
		c.W.WriteHeader(http.StatusSeeOther)
		return nil
	}
	return show(c, http.StatusOK, "done", page{Text: t})
}

// text is what the pages say in a language.
type text struct {
	Lang, Title, Ask, AskPassword, Button, Done, Gone string
}

var texts = map[string]text{
	"en": {"en", "Confirm your address", "Press the button to confirm that this e-mail address is yours. If you did not ask for it, close this page: nothing happens.",
		"Somebody wants to set a new password for the account with this e-mail address. Press the button only if it was you; otherwise close this page: nothing happens.",
		"Confirm", "Thank you. Your address is confirmed. You can close this page and go back to the app.",
		"This link is not good any more. Ask for a new mail in the app."},
	"fr": {"fr", "Confirmer votre adresse", "Appuyez sur le bouton pour confirmer que cette adresse e-mail est la vôtre. Si vous n’avez rien demandé, fermez cette page : il ne se passera rien.",
		"Quelqu’un veut définir un nouveau mot de passe pour le compte lié à cette adresse e-mail. N’appuyez sur le bouton que si c’est vous ; sinon, fermez cette page : il ne se passera rien.",
		"Confirmer", "Merci. Votre adresse est confirmée. Vous pouvez fermer cette page et retourner dans l’application.",
		"Ce lien n’est plus valable. Demandez un nouvel e-mail dans l’application."},
	"nl": {"nl", "Uw adres bevestigen", "Druk op de knop om te bevestigen dat dit e-mailadres van u is. Hebt u hier niet om gevraagd, sluit dan deze pagina: er gebeurt niets.",
		"Iemand wil een nieuw wachtwoord instellen voor het account met dit e-mailadres. Druk alleen op de knop als u dat bent; sluit anders deze pagina: er gebeurt niets.",
		"Bevestigen", "Dank u. Uw adres is bevestigd. U kunt deze pagina sluiten en teruggaan naar de app.",
		"Deze link is niet meer geldig. Vraag in de app een nieuwe e-mail aan."},
	"de": {"de", "Adresse bestätigen", "Drücken Sie den Knopf, um zu bestätigen, dass diese E-Mail-Adresse Ihre ist. Wenn Sie nicht darum gebeten haben, schließen Sie diese Seite: Es geschieht nichts.",
		"Jemand will ein neues Passwort für das Konto mit dieser E-Mail-Adresse festlegen. Drücken Sie den Knopf nur, wenn Sie es sind; sonst schließen Sie diese Seite: Es geschieht nichts.",
		"Bestätigen", "Danke. Ihre Adresse ist bestätigt. Sie können diese Seite schließen und zur App zurückkehren.",
		"Dieser Link gilt nicht mehr. Fordern Sie in der App eine neue E-Mail an."},
}

// page is what a page shows.
type page struct {
	Text               text
	Path               string
	SID, Token, Secret string
	Password           bool
	next               string
}

// They load nothing and run nothing.
var pages = template.Must(template.New("").Parse(`
{{define "top"}}<!DOCTYPE html>
<html lang="{{.Text.Lang}}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Text.Title}}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}
button{font:inherit;min-height:2.75rem;padding:.6rem 1.5rem;border:1px solid;border-radius:.4rem}</style></head><body><main>
<h1>{{.Text.Title}}</h1>{{end}}
{{define "ask"}}{{template "top" .}}<p>{{if .Password}}{{.Text.AskPassword}}{{else}}{{.Text.Ask}}{{end}}</p>
<form method="post" action="{{.Path}}"><input type="hidden" name="sid" value="{{.SID}}"><input type="hidden" name="token" value="{{.Token}}">
{{if .Secret}}<input type="hidden" name="client_secret" value="{{.Secret}}">{{end}}<input type="hidden" name="lang" value="{{.Text.Lang}}">
<button>{{.Text.Button}}</button></form></main></body></html>{{end}}
{{define "done"}}{{template "top" .}}<p role="status">{{.Text.Done}}</p></main></body></html>{{end}}
{{define "gone"}}{{template "top" .}}<p role="alert">{{.Text.Gone}}</p></main></body></html>{{end}}
`))

// show writes a page. Its address holds a code, so it is kept nowhere and named to nobody (httpapi's headers).
func show(c *httpapi.Call, status int, name string, p page) error {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, p); err != nil {
		return fmt.Errorf("write page %s: %w", name, err)
	}
	// Browsers hold a form's redirects to be places that the form goes to.
	action := "'self'"
	if next, err := url.Parse(p.next); err == nil && next.Host != "" {
		action += " " + next.Scheme + "://" + next.Host
	}
	h := c.W.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action "+action)
	c.W.WriteHeader(status)
	_, _ = c.W.Write(b.Bytes()) // a browser that has gone is no event
	return nil
}
