package admin_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// entries are what the organisation's log says of an action, the newest first: actor, target and outcome.
func entries(t *testing.T, reader *hstest.User, action string) []string {
	t.Helper()
	var list []string
	for _, e := range reader.MustDo(t, http.MethodGet, own+"/audit?limit=1000&action="+action, nil).Get("entries").Array() {
		list = append(list, fmt.Sprint(e.Get("actor"), " ", e.Get("target"), " ", e.Get("outcome")))
	}
	return list
}

func signIn(t *testing.T, d *hstest.Deployment, user, password string) hstest.Response {
	t.Helper()
	r, err := d.Do(t.Context(), 0, "", http.MethodPost, hstest.Path("login"), map[string]any{
		"type": "m.login.password", "password": password, "identifier": map[string]any{"type": "m.id.user", "user": user}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsDoneIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	acme, other := d.Organisation(t, "Acme", "acme.test"), d.Organisation(t, "Other", "other.test")
	owner, alice, op := acme.Owner, acme.User(t, "alice"), d.Operator(t)
	escaped := url.PathEscape(alice.ID)

	signIn(t, d, alice.ID, "not the password")
	signIn(t, d, "@my-secret-password:acme.test", "x")
	phone := alice.NewSession(t)
	phone.MustDo(t, http.MethodPost, hstest.Path("logout"), nil)
	owner.MustDo(t, http.MethodPut, own+"/roles/"+escaped, map[string]any{"role": "auditor"})
	owner.MustDo(t, http.MethodDelete, own+"/roles/"+escaped, nil)
	owner.MustDo(t, http.MethodPut, own+"/policies/deletion", map[string]any{"text": "sender"})
	owner.MustDo(t, http.MethodDelete, own+"/policies/deletion", nil)
	owner.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/suspend/"+escaped, map[string]any{"suspended": true})
	owner.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/suspend/"+escaped, map[string]any{"suspended": false})
	owner.MustDo(t, http.MethodGet, hstest.Path("admin", "whois", alice.ID), nil)
	owner.MustDo(t, http.MethodPost, "/_synapse/admin/v1/send_server_notice", map[string]any{"user_id": alice.ID, "content": map[string]any{"msgtype": "m.text", "body": "hidden text"}})
	room := alice.MustCreateRoom(t, nil)
	uri := alice.MustUpload(t, "text/plain", "", []byte("file"))
	alice.MustSend(t, room, "m.room.message", map[string]any{"msgtype": "m.file", "body": "f", "url": uri})
	owner.MustDo(t, http.MethodDelete, hstest.MediaPath("/_synapse/admin/v1/media", uri), nil)
	owner.MustDo(t, http.MethodPost, own+"/delete", map[string]any{"room_id": room})
	op.MustDo(t, http.MethodPost, organisation(acme, "/suspend"), nil)
	op.MustDo(t, http.MethodPost, organisation(acme, "/resume"), nil)
	op.MustDo(t, http.MethodGet, organisation(acme, "/audit"), nil)

	first := owner.ID + " " + alice.ID + " ok"
	for action, want := range map[string]string{
		"role.change": first + ", " + first, "policy.change": owner.ID + " deletion ok", "policy.remove": owner.ID + " deletion ok",
		"account.suspend": first, "account.unsuspend": first, "account.whois": first, "server_notice.send": first,
		"media.delete": owner.ID + " " + uri + " ok", "content.delete": owner.ID + " " + room + " ok",
		"organisation.suspend": op.ID + " Acme ok", "organisation.resume": op.ID + " Acme ok", "audit.read": op.ID + "  ok",
		"session.end": alice.ID + " " + alice.ID + " ok",
	} {
		if got := strings.Join(entries(t, owner, action), ", "); got != want {
			t.Errorf("%s: %s; want %s", action, got, want)
		}
	}
	logins := entries(t, owner, "login")
	if len(logins) < 4 || logins[0] != alice.ID+" "+alice.ID+" ok" || logins[2] != alice.ID+" "+alice.ID+" refused" ||
		!strings.HasPrefix(logins[1], "unknown:") || !strings.HasSuffix(logins[1], " refused") {
		t.Errorf("logins are %q", logins)
	}
	whole := owner.MustDo(t, http.MethodGet, own+"/audit?limit=1000", nil).Raw
	for _, secret := range []string{"my-secret-password", "hidden text", "not the password", "other.test", alice.AccessToken} {
		if strings.Contains(whole, secret) {
			t.Errorf("the log says %q", secret)
		}
	}
	// The operator's own log has what the operator did, and organisations see their own only.
	if got := len(entries(t, op, "organisation.")); got != 4 {
		t.Errorf("%d entries about organisations in the operator's log", got)
	}
	if got := entries(t, other.Owner, "organisation."); len(got) != 1 {
		t.Errorf("the other organisation reads %q", got)
	}
	for _, path := range []string{"/audit", "/audit/export", "/audit/verify"} {
		alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodGet, own+path, nil)
		owner.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodGet, organisation(other, path), nil)
		op.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, operator+"/organisations/999"+path, nil)
	}
	for _, query := range []string{"?from=x", "?limit=-1", "?since_ts=x", "?from=0"} {
		owner.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodGet, own+"/audit"+query, nil)
	}
	// Pages are whole.
	seen, from := 0, ""
	for {
		page := owner.MustDo(t, http.MethodGet, own+"/audit?limit=3"+from, nil)
		seen += len(page.Get("entries").Array())
		if page.Get("next_batch").String() == "" {
			break
		}
		from = "&from=" + page.Get("next_batch").String()
	}
	if want := len(gjson.Get(whole, "entries").Array()); seen != want {
		t.Errorf("pages have %d entries, want %d", seen, want)
	}
}

func TestExportedAuditLogShowsWhatWasChanged(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	acme := d.Organisation(t, "Acme <&>", "acme.test")
	for i := range 5 {
		acme.Owner.MustDo(t, http.MethodPut, own+"/organisation", map[string]any{"name": fmt.Sprint("Äcme <", i, ">")})
	}
	r, err := acme.Owner.Do(t.Context(), http.MethodGet, own+"/audit/export", nil)
	if err != nil || r.Status != http.StatusOK || r.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatal(r, err)
	}
	export := string(r.Body)
	lines := strings.SplitAfter(strings.TrimSpace(export), "\n")
	last := gjson.Parse(lines[len(lines)-1])
	if !last.Get("checkpoint").Bool() || last.Get(`signatures.acme\.test`).Raw == "" || last.Get("seq").Int() != int64(len(lines)-1) {
		t.Errorf("the checkpoint is %s", last)
	}
	verdict := func(text string) *admin.AuditVerdict {
		v, err := admin.VerifyExport(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := verdict(export); !v.Valid || v.Entries != int64(len(lines)-1) {
		t.Errorf("the export is judged %+v", v)
	}
	for what, changed := range map[string]string{
		"an entry changed":     strings.Replace(export, "Äcme <3>", "Äcme <9>", 1),
		"an entry taken out":   strings.Join(append(append([]string{}, lines[:2]...), lines[3:]...), ""),
		"the last ones out":    strings.Join(append(append([]string{}, lines[:len(lines)-3]...), lines[len(lines)-1]), ""),
		"two entries swapped":  strings.Join(append([]string{lines[1], lines[0]}, lines[2:]...), ""),
		"without a checkpoint": strings.Join(lines[:len(lines)-1], ""),
		"an actor changed":     strings.Replace(export, acme.Owner.ID, "@eve:acme.test", 1),
	} {
		if v := verdict(changed); v.Valid || v.FirstBad == 0 {
			t.Errorf("%s: judged %+v", what, v)
		}
	}
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(file, bytes.TrimSpace(r.Body), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := d.Command(t, 0, "audit", "verify", "acme.test"); code != 0 || !strings.Contains(out, `"valid":true`) {
		t.Errorf("audit verify: %d %s", code, out)
	}

	// Somebody who owns the database may take the trigger off; then the chain shows it.
	db := storetest.DB(t, d.DSN)
	for _, statement := range []string{
		`ALTER TABLE audit_log DISABLE TRIGGER audit_log_keep`,
		fmt.Sprintf(`UPDATE audit_log SET actor = '@eve:acme.test' WHERE organisation_id = %d AND seq = 4`, acme.ID),
		`ALTER TABLE audit_log ENABLE TRIGGER audit_log_keep`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if v := acme.Owner.MustDo(t, http.MethodGet, own+"/audit/verify", nil); v.Get("valid").Bool() || v.Get("first_bad").Int() != 4 {
		t.Errorf("the changed log is judged %s", v)
	}
	if code, out := d.Command(t, 0, "audit", "verify", fmt.Sprint(acme.ID)); code == 0 || !strings.Contains(out, "entry 4") {
		t.Errorf("audit verify: %d %s", code, out)
	}
}

func TestPoliciesAndQuotasAreShownWithTheirDefaults(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	acme := d.Organisation(t, "Acme", "acme.test")
	alice := acme.User(t, "alice")
	list := acme.Owner.MustDo(t, http.MethodGet, own+"/policies", nil).Get("policies").Array()
	if len(list) < 2 {
		t.Fatalf("%d policies", len(list))
	}
	for _, p := range list {
		if p.Get("name").String() == "" || p.Get("summary").String() == "" || p.Get("value").Raw != "{}" || !p.Get("default").IsObject() || len(p.Get("fields").Map()) == 0 {
			t.Errorf("a policy is shown as %s", p)
		}
	}
	if got := acme.Owner.MustDo(t, http.MethodGet, own+"/policies/accounts", nil).Get("default").Raw; got != `{"self_deactivate":true,"erase_messages":false,"erase_media":true}` {
		t.Errorf("accounts are by default %s", got)
	}
	set := acme.Owner.MustDo(t, http.MethodPut, own+"/policies/media", map[string]any{"organisation_quota": 1000})
	if set.Get("value").Raw != `{"organisation_quota":1000}` || set.Get("default.max_upload_size").Int() == 0 {
		t.Errorf("set to %s", set)
	}
	alice.MustUpload(t, "text/plain", "", []byte("0123456789"))
	quotas := acme.Owner.MustDo(t, http.MethodGet, own+"/quotas", nil)
	if quotas.Get("media_bytes.used").Int() != 10 || quotas.Get("media_bytes.max").Int() != 1000 || quotas.Get("people.used").Int() != 2 {
		t.Errorf("quotas are %s", quotas)
	}
	if got := d.Operator(t).MustDo(t, http.MethodGet, organisation(acme, "/quotas"), nil).Raw; got != quotas.Raw {
		t.Errorf("the operator sees %s", got)
	}
	d.Operator(t).MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, operator+"/organisations/999/quotas", nil)
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodGet, own+"/quotas", nil)
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodGet, own+"/policies", nil)
}

func TestOpenAPIDocumentIsServed(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	r, err := d.Do(t.Context(), 0, "", http.MethodGet, own+"/openapi.json", nil)
	if err != nil || r.Status != http.StatusOK {
		t.Fatal(r, err)
	}
	document := r.JSON()
	for _, route := range (&admin.Server{}).Routes() {
		operation := document.Get("paths").Map()[route.Path].Map()[strings.ToLower(route.Method)]
		if operation.Get("summary").String() == "" || operation.Get("operationId").String() == "" {
			t.Errorf("%s %s is not described", route.Method, route.Path)
		}
		for segment := range strings.SplitSeq(route.Path, "/") {
			if name, is := strings.CutPrefix(segment, "{"); is && !strings.Contains(operation.Get("parameters.#.name").Raw, strings.TrimSuffix(name, "}")) {
				t.Errorf("%s %s: parameter %s is not described", route.Method, route.Path, segment)
			}
		}
	}
	// Every reference leads somewhere, and no operation is called as another.
	for rest := r.Body; ; {
		_, after, found := bytes.Cut(rest, []byte(`"#/components/schemas/`))
		if !found {
			break
		}
		name, _, _ := bytes.Cut(after, []byte(`"`))
		if !document.Get("components.schemas").Map()[string(name)].Exists() {
			t.Errorf("there is no schema %s", name)
		}
		rest = after
	}
	ids := map[string]bool{}
	for _, path := range document.Get("paths").Map() {
		for _, operation := range path.Map() {
			if id := operation.Get("operationId").String(); ids[id] {
				t.Errorf("two operations are called %s", id)
			} else {
				ids[id] = true
			}
		}
	}
	made := document.Get("components.schemas.NewOrganisation")
	if made.Get("properties.max_people.type").String() != "integer" || !strings.Contains(made.Get("required").Raw, `"domain"`) {
		t.Errorf("NewOrganisation is %s", made)
	}
}

func TestOrganisationCommands(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	run := func(want int, contains string, args ...string) string {
		t.Helper()
		code, out := d.Command(t, 0, args...)
		if code != want || !strings.Contains(out, contains) {
			t.Fatalf("roomline %v: %d %s", args, code, out)
		}
		return out
	}
	out := run(0, "made @boss:acme.test, password ", "org", "create", "--region", "AT", "--owner", "boss", "Acme", "acme.test")
	password := strings.TrimSpace(out[strings.LastIndex(out, " "):])
	d.Secret(password, "a made-up password")
	if r := signIn(t, d, "@boss:acme.test", password); r.Status != http.StatusOK {
		t.Fatalf("the owner signs in: %v", r)
	}
	run(0, "acme.test", "org", "list")
	run(0, "signs with ed25519:", "org", "domain", "acme.test", "more.test")
	run(0, "of at most 7", "org", "change", "--max-people", "7", "acme.test")
	run(0, "@boss:acme.test", "org", "show", "more.test")
	run(0, "made @carol:more.test", "user", "create", "@carol:more.test")
	run(0, "@carol:more.test: people", "org", "role", "acme.test", "@carol:more.test", "people")
	run(1, "last owner", "org", "role", "acme.test", "@boss:acme.test", "none")
	run(1, "no such account", "org", "role", "acme.test", "@nobody:acme.test", "owner")
	run(0, "is suspended", "org", "suspend", "acme.test")
	if r := signIn(t, d, "@boss:acme.test", password); r.ErrCode() != "M_USER_LOCKED" {
		t.Errorf("the owner of a suspended organisation: %v", r)
	}
	run(0, "is active", "org", "resume", "acme.test")
	run(1, "say --yes", "org", "delete", "acme.test")
	run(0, "is deleted", "org", "delete", "--yes", "acme.test")
	run(1, "neither the number", "org", "show", "nowhere.test")
	run(1, "no such organisation", "org", "show", "999")
	export := run(0, "organisation.delete", "audit", "export", "acme.test")
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(file, []byte(export), 0o600); err != nil {
		t.Fatal(err)
	}
}
