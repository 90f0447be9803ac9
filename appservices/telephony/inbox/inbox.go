// Package inbox keeps what a server for trying things out would have sent, and shows it in a browser. Mails are written by the same code that writes those
// that are sent, short messages likewise.
//
// Whoever reaches the page reads every invitation and every code: it is there with --dev only, and there the server listens on the machine itself unless it
// is told otherwise. Pages of others that a browser has open can't read it.
//
// Start reading at New; page.go has the routes.
package inbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/appservices/telephony/mail"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

// Config of an Inbox. All but BaseURL are required.
type Config struct {
	// Dir is the folder that messages are kept in; it is made if it is missing.
	Dir string
	// Mails writes mails, SMS short messages.
	Mails *mail.Writer
	SMS   func(*outbox.Message) (string, error)
	// BaseURL is where the server is reached; its host is one that the page may be asked for at.
	BaseURL string
	Clock   matrix.Clock
	Log     *slog.Logger
}

// Item is a message that was kept.
type Item struct {
	ID int `json:"id"`
	// MessageID, Kind, Medium, To and Language are the message's. What was sent twice is here twice.
	MessageID int64            `json:"message_id"`
	TS        matrix.Timestamp `json:"ts"`
	Kind      outbox.Kind      `json:"kind"`
	Medium    string           `json:"medium"`
	To        string           `json:"to"`
	Language  string           `json:"language"`
	// From, Subject, HTML, Calendar and Source are of mails.
	From     string `json:"from,omitempty"`
	Subject  string `json:"subject,omitempty"`
	Text     string `json:"text"`
	HTML     string `json:"html,omitempty"`
	Calendar string `json:"calendar,omitempty"`
	Source   string `json:"source,omitempty"`
	// Link is what the message is about, if it is about one.
	Link string `json:"link,omitempty"`
}

// Inbox keeps messages. It is a telephony.Transport for both media, and safe for concurrent use.
type Inbox struct {
	cfg  Config
	host string

	mu    sync.Mutex
	items []Item // the newest last
}

// New opens the inbox in a folder.
func New(cfg Config) (*Inbox, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the development inbox: %w", err)
	}
	i := &Inbox{cfg: cfg}
	if u, err := url.Parse(cfg.BaseURL); err == nil {
		i.host = u.Hostname()
	}
	names, err := filepath.Glob(filepath.Join(cfg.Dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("open the development inbox: %w", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("open the development inbox: %w", err)
		}
		var item Item
		if err := json.Unmarshal(text, &item); err != nil || name != i.file(item.ID) {
			cfg.Log.Warn("a file in the development inbox is none of its messages", "file", name)
			continue
		}
		i.items = append(i.items, item)
	}
	slices.SortFunc(i.items, func(a, b Item) int { return cmp.Compare(a.ID, b.ID) })
	return i, nil
}

func (i *Inbox) file(id int) string { return filepath.Join(i.cfg.Dir, strconv.Itoa(id)+".json") }

// Send keeps a message, in place of sending it.
func (i *Inbox) Send(_ context.Context, m *outbox.Message, sending func(reference string) error) (telephony.Handed, error) {
	item := Item{MessageID: m.ID, TS: matrix.TimestampOf(i.cfg.Clock.Now()), Kind: m.Kind, Medium: m.Medium, To: m.Address, Language: m.Language}
	reference, err := i.write(m, &item)
	if err != nil {
		i.cfg.Log.Error("a message can't be written", "message", m.ID, "kind", m.Kind, "medium", m.Medium, "error", err)
		return telephony.Handed{}, &telephony.Refusal{Problem: "the message can't be written"}
	}
	if err := sending(reference); err != nil {
		return telephony.Handed{}, err
	}
	if err := i.keep(item); err != nil {
		return telephony.Handed{}, err
	}
	return telephony.Handed{Reference: reference, Delivered: true}, nil
}

// write writes what a message says.
func (i *Inbox) write(m *outbox.Message, item *Item) (reference string, err error) {
	switch {
	case m.Kind == outbox.Invitation && m.Invitation != nil:
		item.Link = m.Invitation.Link
	case m.Kind == outbox.Code && m.Code != nil:
		item.Link = m.Code.Link
	}
	if m.Medium == outbox.Msisdn {
		item.Text, err = i.cfg.SMS(m)
		return fmt.Sprintf("inbox-%d", m.ID), err
	}
	written, err := i.cfg.Mails.Write(m)
	if err != nil {
		return "", err
	}
	item.From, item.Subject, item.Text, item.HTML = written.From, written.Subject, written.Text, written.HTML
	item.Calendar, item.Source = written.Calendar, string(written.Raw)
	return written.ID, nil
}

// keep stores a message, and forgets the oldest if there are too many.
func (i *Inbox) keep(item Item) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	item.ID = 1
	if n := len(i.items); n > 0 {
		item.ID = i.items[n-1].ID + 1
	}
	text, err := json.Marshal(item)
	if err != nil {
		return err
	}
	temporary := i.file(item.ID) + ".new"
	if err := errors.Join(os.WriteFile(temporary, text, 0o600), os.Rename(temporary, i.file(item.ID))); err != nil {
		return fmt.Errorf("keep a message in the development inbox: %w", err)
	}
	i.items = append(i.items, item)
	for len(i.items) > limits.Inbox {
		if err := os.Remove(i.file(i.items[0].ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget a message of the development inbox: %w", err)
		}
		i.items = i.items[1:]
	}
	return nil
}

// list is all messages, the newest first.
func (i *Inbox) list() []Item {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := slices.Clone(i.items)
	slices.Reverse(all)
	return all
}

func (i *Inbox) get(id string) (Item, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := slices.IndexFunc(i.items, func(item Item) bool { return strconv.Itoa(item.ID) == id })
	if n < 0 {
		return Item{}, false
	}
	return i.items[n], true
}
