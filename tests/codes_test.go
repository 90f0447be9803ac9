package tests

import (
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/seal"
	"github.com/roomline/roomline/internal/store/storetest"
)

// mailbox is what the server has sent, read where the telephony bridge reads it.
type mailbox struct {
	dep    *hstest.Deployment
	db     *sql.DB
	sealer seal.Sealer
}

// withMail starts a deployment that knows where it is reached, and sends messages that nobody takes.
func withMail(t *testing.T, opts hstest.Options) (*hstest.Deployment, *mailbox) {
	t.Helper()
	configure := opts.Configure
	opts.Configure = func(process int, c map[string]any) {
		c["public_base_url"] = "http://" + c["listeners"].([]any)[0].(map[string]any)["address"].(string)
		if configure != nil {
			configure(process, c)
		}
	}
	d := hstest.Start(t, opts)
	db := storetest.DB(t, d.DSN)
	raw, err := base64.StdEncoding.DecodeString(hstest.EncryptionKey)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New([32]byte(raw), "roomline outbox")
	if err != nil {
		t.Fatal(err)
	}
	return d, &mailbox{d, db, sealer}
}

// count is how many messages there are to an address.
func (m *mailbox) count(t *testing.T, address string) (n int) {
	t.Helper()
	if err := m.db.QueryRow(`SELECT count(*) FROM outbox WHERE address = $1`, address).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// last is the code that was sent to an address last.
func (m *mailbox) last(t *testing.T, address string) outbox.CodeText {
	t.Helper()
	code, err := m.find(address)
	if err != nil {
		t.Fatalf("the last message to %s: %v", address, err)
	}
	return code
}

// find is last, with an error if there is none. The code must not be in any log.
func (m *mailbox) find(address string) (outbox.CodeText, error) {
	var id int64
	var sealed []byte
	err := m.db.QueryRow(`SELECT message_id, payload FROM outbox WHERE address = $1 ORDER BY message_id DESC LIMIT 1`, address).Scan(&id, &sealed)
	if err != nil {
		return outbox.CodeText{}, err
	}
	text, err := m.sealer.Open(sealed, strconv.FormatInt(id, 10))
	if err != nil {
		return outbox.CodeText{}, err
	}
	var payload struct {
		Code outbox.CodeText `json:"code"`
	}
	if err := json.Unmarshal(text, &payload); err != nil {
		return outbox.CodeText{}, err
	}
	m.dep.Secret(payload.Code.Code, "a code")
	return payload.Code, nil
}
