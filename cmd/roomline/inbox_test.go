package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kept is what the development inbox has for an address.
func (r *running) kept(address string) (messages []struct{ Medium, Subject, Text, Link, Language, From string }) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); len(messages) == 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		status, body := r.get("/_roomline/dev/inbox.json?address="+address, "")
		var answer struct {
			Messages []struct{ Medium, Subject, Text, Link, Language, From string }
		}
		if err := json.Unmarshal([]byte(body), &answer); status != http.StatusOK || err != nil {
			r.t.Fatalf("the inbox: %d %s", status, body)
		}
		messages = answer.Messages
	}
	return messages
}

// TestInvitationsAreInTheDevelopmentInbox tries out what the summary says of people from outside.
func TestInvitationsAreInTheDevelopmentInbox(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, developmentConfig(dir))
	if !strings.Contains(r.out.String(), r.url+"/_roomline/dev/inbox") {
		t.Errorf("the summary does not say where the inbox is:\n%s", r.out.String())
	}
	alice := r.login("alice")
	if status, answer := r.ask(http.MethodPut, "/_roomline/admin/v1/policies/branding", alice, `{"name":"Acme","colour":"#0a7a5c"}`); status != http.StatusOK {
		t.Fatalf("branding: %d %s", status, answer)
	}
	_, answer := r.ask(http.MethodPost, "/_matrix/client/v3/createRoom", alice, `{"name":"Project South"}`)
	var room struct {
		ID string `json:"room_id"`
	}
	if err := json.Unmarshal([]byte(answer), &room); err != nil || room.ID == "" {
		t.Fatalf("createRoom: %s", answer)
	}
	for medium, address := range map[string]string{"email": "anna@example.com", "msisdn": "+491701234567"} {
		body := `{"id_server":"localhost","id_access_token":"x","medium":"` + medium + `","address":"` + address + `"}`
		if status, answer := r.ask(http.MethodPost, "/_matrix/client/v3/rooms/"+url.PathEscape(room.ID)+"/invite", alice, body); status != http.StatusOK {
			t.Fatalf("invite by %s: %d %s", medium, status, answer)
		}
		messages := r.kept(strings.TrimPrefix(address, "+"))
		if len(messages) != 1 || messages[0].Medium != medium || !strings.Contains(messages[0].Text, messages[0].Link) || !strings.HasPrefix(messages[0].Link, r.url+"/i#") {
			t.Fatalf("by %s: %+v", medium, messages)
		}
		if medium == "email" && (!strings.Contains(messages[0].Text, "Acme") || !strings.Contains(messages[0].Text, "Project South")) {
			t.Errorf("the mail says: %s", messages[0].Text)
		}
	}
	if status, page := r.get("/_roomline/dev/inbox", ""); status != http.StatusOK || !strings.Contains(page, "Development inbox") {
		t.Errorf("the page: %d", status)
	}
	// The server listens on a port that nobody has told the command.
	code, out, errs := r.command("", "meeting", "create", "--as", "@alice:localhost", "--title", "Budget", "--start", "2030-01-02T10:00", "--end", "2030-01-02T11:00", "--link")
	if code != 0 || !strings.Contains(out, "\n"+r.url+"/i#") {
		t.Errorf("meeting create: %d %s%s", code, out, errs)
	}
	r.end()
	again := start(t, developmentConfig(dir))
	defer again.end()
	if len(again.kept("anna@example.com")) != 1 {
		t.Error("the mail is gone after a restart")
	}
}
