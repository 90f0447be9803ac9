// Package outbox is what leaves for mailboxes and phones: invitations and codes.
//
// Whoever wants something sent calls Enqueue inside the transaction that the message belongs to. The guards (guards.go) decide in that
// transaction whether it may be sent, and what is sent is stored with it: both are there, or neither. A telephony bridge takes messages with
// a lease and reports what became of them (bridge.go); run.go tells the invitations, and ends what was never sent.
//
// Invariants:
//   - Limits and budgets hold for all processes together: the row of what the organisation has spent today is locked before anything is
//     counted, and until the message is stored.
//   - What a message says is encrypted in the database, bound to the message, and wiped as soon as nobody will send it again. It is in no log.
//   - A state of a message changes for whoever has its lease alone. Before the network gets a message it is stored that it may have: a short
//     message is not handed out again before the window is over, whoever died.
//   - Who refused messages gets none, but for codes, from no organisation. Of the address a keyed hash is kept.
//
// Start reading at Enqueue.
package outbox

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/seal"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

// Config of a Server. All fields but Media, Brand and Changed are required.
type Config struct {
	Store *store.Store
	Clock matrix.Clock
	Log   *slog.Logger
	// SealKey encrypts what messages say, and hashes the addresses that refused messages.
	SealKey [32]byte
	// BaseURL is where people reach the server.
	BaseURL string
	// Media are those that can be sent. Nothing can be sent by others.
	Media []string
	// Limits are what the operator allows; organisations decide within them.
	Limits Limits
	// Brand is how an organisation presents itself; nil: by its name.
	Brand func(ctx context.Context, organisation int64) (outbox.Brand, error)
	// Changed is told how far the message about an invitation has come, at least once; nil for nobody.
	Changed func(ctx context.Context, invitationID string, state outbox.State) error
}

// Server is the outbox. It is safe for concurrent use.
type Server struct {
	cfg    Config
	sealer seal.Sealer
	links  seal.Sealer
	hash   []byte
	bell   wake.Bell
	// changed says that invitations have to be told something.
	changed chan struct{}
	// paused are organisations whose sending is to stop.
	paused chan int64
	// stop is closed when those that wait for messages are to be answered.
	stop     chan struct{}
	stopOnce sync.Once
}

// New returns a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, errors.New("outbox: Config.Store, Clock or Log is missing")
	}
	if err := cfg.Limits.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, changed: make(chan struct{}, 1), paused: make(chan int64, 16), stop: make(chan struct{})}
	var err error
	if s.sealer, err = seal.New(cfg.SealKey, "roomline outbox"); err != nil {
		return nil, err
	}
	if s.links, err = seal.New(cfg.SealKey, "roomline outbox refusals"); err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, cfg.SealKey[:])
	mac.Write([]byte("addresses that refused messages"))
	s.hash = mac.Sum(nil)
	return s, nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

// Sends reports whether anything can be sent by a medium.
func (s *Server) Sends(medium string) bool {
	for _, m := range s.cfg.Media {
		if m == medium {
			return true
		}
	}
	return false
}

// Draft is a message that is to be sent.
type Draft struct {
	Organisation int64
	Kind         outbox.Kind
	Medium       string
	// Address is canonical: an e-mail address, or E.164 digits without a plus.
	Address string
	// Sender is who asked; empty only for a code that nobody who has an account asked for.
	Sender matrix.UserID
	// InvitationID is the invitation that it is about, which is stored before, or empty.
	InvitationID string
	// Language is en, fr, nl or de; anything else is en.
	Language string
	// ExpiresTS is when it is worth nothing any more.
	ExpiresTS  matrix.Timestamp
	Invitation *outbox.InvitationText
	Code       *outbox.CodeText
	// Again takes back what is still to be sent about the same invitation: this replaces it.
	Again bool
}

// payload is what is kept, sealed, of what a message says.
type payload struct {
	Language   string                 `json:"language"`
	Invitation *outbox.InvitationText `json:"invitation,omitempty"`
	Code       *outbox.CodeText       `json:"code,omitempty"`
}

// Enqueue has a message sent, if the transaction commits. A *matrix.Error says why it may not be. In a transaction it comes late: nobody else
// in the organisation can have a message sent before the transaction ends.
func (s *Server) Enqueue(ctx context.Context, tx *store.Tx, d Draft) (id int64, err error) {
	now := s.now()
	if err := s.checkDraft(&d, now); err != nil {
		return 0, err
	}
	rules, err := s.rulesFor(ctx, tx, d.Organisation)
	if err != nil {
		return 0, err
	}
	if err := s.checkSender(ctx, tx, &d); err != nil {
		return 0, err
	}
	if err := s.checkAddress(ctx, tx, &d, &rules); err != nil {
		return 0, err
	}
	m := store.OutboxMessage{
		OrganisationID: d.Organisation, Kind: string(d.Kind), Medium: d.Medium, State: string(outbox.Queued), Address: d.Address, Sender: d.Sender,
		InvitationID: d.InvitationID, NextTS: now, ExpiresTS: d.ExpiresTS, CreatedTS: now, Cost: s.cfg.Limits.reserve(&d),
	}
	spent, err := tx.LockSpending(ctx, d.Organisation, d.Medium, now)
	if err != nil {
		return 0, fmt.Errorf("lock the spending of an organisation: %w", err)
	}
	if d.Again && d.InvitationID != "" {
		if _, err := tx.CancelOutbox(ctx, d.InvitationID, string(outbox.Cancellation), now); err != nil {
			return 0, fmt.Errorf("take messages back: %w", err)
		}
	}
	counts, err := tx.CountOutbox(ctx, m, domainOf(&d), blockOf(&d))
	if err != nil {
		return 0, fmt.Errorf("count messages: %w", err)
	}
	if err := s.admit(ctx, tx, &d, &rules, counts, spent, now); err != nil {
		return 0, err
	}
	m.ID = counts.NextID
	if until, quiet := rules.quietUntil(&d, s.cfg.Clock.Now()); quiet {
		m.State, m.NextTS = string(outbox.Held), matrix.TimestampOf(until)
	}
	text, err := json.Marshal(payload{d.Language, d.Invitation, d.Code})
	if err != nil {
		return 0, fmt.Errorf("encode a message: %w", err)
	}
	m.Payload = s.sealer.Seal(text, strconv.FormatInt(m.ID, 10))
	if err := tx.InsertOutbox(ctx, m); err != nil {
		return 0, fmt.Errorf("store a message: %w", err)
	}
	return m.ID, s.alert(ctx, tx, &d, &rules, spent, m.Cost, now)
}

// checkDraft refuses what is no message. What else is wrong with it is a mistake of ours.
func (s *Server) checkDraft(d *Draft, now matrix.Timestamp) error {
	switch d.Language {
	case "en", "fr", "nl", "de":
	default:
		d.Language = "en"
	}
	content := d.Invitation != nil
	if d.Kind == outbox.Code {
		content = d.Code != nil
	}
	switch {
	case !content, d.Organisation == 0, d.Kind != outbox.Code && d.Sender == "":
		return fmt.Errorf("outbox: a draft of kind %q is not whole", d.Kind)
	case d.ExpiresTS <= now:
		return matrix.InvalidParam("the message would have expired before it is sent")
	case !s.Sends(d.Medium):
		return matrix.NewError(400, matrix.ErrThreepidMediumNotSupported, "this server sends nothing by %s", mediumName(d.Medium))
	}
	if d.Medium == outbox.Email {
		if local, domain, ok := strings.Cut(d.Address, "@"); !ok || local == "" || domain == "" || strings.ContainsAny(d.Address, " \r\n\t<>,;") || len(d.Address) > 254 {
			return matrix.InvalidParam("this is not an e-mail address")
		}
	}
	return nil
}

func mediumName(medium string) string {
	switch medium {
	case outbox.Email:
		return "e-mail"
	case outbox.Msisdn:
		return "short message"
	}
	return "this medium"
}

// Cancel takes back what is still to be sent about an invitation. What tells of its end is sent all the same. A bridge that has such a message
// already, and has not given it to the network, does not send it.
func (s *Server) Cancel(ctx context.Context, tx *store.Tx, invitationID string) error {
	_, err := tx.CancelOutbox(ctx, invitationID, string(outbox.Cancellation), s.now())
	return err
}

// refusalHash is what is kept of an address that refused messages.
func (s *Server) refusalHash(medium, address string) []byte {
	mac := hmac.New(sha256.New, s.hash)
	mac.Write([]byte(medium + "\x00" + address))
	return mac.Sum(nil)
}

// tooMany says when there may be one more.
func tooMany(after time.Duration, format string, a ...any) *matrix.Error {
	e := matrix.LimitExceeded(after)
	e.Message = fmt.Sprintf(format, a...)
	return e
}

func domainOf(d *Draft) string {
	if d.Medium != outbox.Email {
		return ""
	}
	return d.Address[strings.LastIndexByte(d.Address, '@')+1:]
}

// blockDigits are the digits in which the numbers of a block differ.
const blockDigits = 3

func blockOf(d *Draft) string {
	if d.Medium != outbox.Msisdn || len(d.Address) <= blockDigits {
		return ""
	}
	return d.Address[:len(d.Address)-blockDigits]
}

// partsOf is how many short messages are counted for a message before it is known.
func partsOf(d *Draft) int64 {
	if d.Kind == outbox.Code {
		return limits.CodeParts
	}
	return limits.InvitationParts
}
