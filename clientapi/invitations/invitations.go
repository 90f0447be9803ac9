// Package invitations asks people outside into rooms: by e-mail, by phone, or by a link that a member passes on.
//
// Spec: client-server v1.19 §third-party-invites
//
// An invitation is a row of the table invitations, a third-party invite in the room (m.room.third_party_invite, whose state key is the
// invitation's id), and for an address a message in the outbox. Its link carries a secret of 128 bits. Whoever has it becomes a guest
// (clientapi/guests), whom Admit lets in: the identity key of the server signs the guest's user id, which makes the third-party invite an
// invite. An address of somebody whom the inviter can see anyway (a person of the own organisation, or of a linked one that gives its
// addresses and lets its people be invited) is invited as that person instead.
//
// Invariants:
//   - Of a secret only the hash is stored, and it is in the answer to its inviter (a link) or in the sealed outbox (an address), nowhere else.
//   - The row decides who gets in, and every use is one statement (store.UseInvitation): ended is ended on every process with the commit. What
//     the room is told comes after it, and is made up for by a worker if a process dies in between (run.go).
//   - A third-party invite that a client has emptied or replaced lets nobody in, whatever the row says: the room's own rules see to that.
//   - Whether an address has an account is told to nobody who could not look the account up by that address.
//   - Everything that counts against abuse and cost comes before anything is sent: limits here, the outbox's guards in the same transaction.
//
// Roads not taken: a key for each invitation, as the specification's identity service makes them, is one more secret to keep and
// protects nobody from a server that has them all.
//
// Start reading at invite.go, then admit.go, then run.go.
package invitations

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// KeyID is what the identity key is called; KeyValidityPath is where the identity service says whether it holds.
const (
	KeyID           = "ed25519:0"
	KeyValidityPath = "/_matrix/identity/v2/pubkey/isvalid"
)

// LinkPath is where the guest page is; the secret follows as the fragment, which browsers send to nobody.
const LinkPath = "/i#"

// Draft is a message that is to be sent.
type Draft struct {
	Organisation    int64
	Kind            outbox.Kind
	Medium, Address string
	Sender          matrix.UserID
	InvitationID    string
	Language        string
	ExpiresTS       matrix.Timestamp
	Invitation      *outbox.InvitationText
	Code            *outbox.CodeText
	// Again: the inviter asks for the same message once more.
	Again bool
}

// Config is what a Server is made of. Everything up to MayInvite is required.
type Config struct {
	Store   *store.Store
	Journal *journal.Journal
	Rooms   *roomserver.Server
	Clock   matrix.Clock
	Log     *slog.Logger
	// Key signs third-party invites, in the name of ServerName. The identity service gives its public half.
	Key        ed25519.PrivateKey
	ServerName matrix.ServerName
	// BaseURL is where guests reach the server.
	BaseURL string
	// Enqueue puts a message into the outbox, or refuses it; Cancel takes back what has not been sent yet.
	Enqueue func(ctx context.Context, tx *store.Tx, d Draft) (int64, error)
	Cancel  func(ctx context.Context, tx *store.Tx, invitationID string) error
	// MayInvite refuses users whom the requester can't invite: M_NOT_FOUND for whom the requester may not know of.
	MayInvite func(ctx context.Context, who *httpapi.Requester, users []matrix.UserID) error

	// Brand is how an organisation presents itself; its name if nil.
	Brand func(ctx context.Context, org int64) (outbox.Brand, error)
	// Languages are those that an organisation speaks, the first one first; English if nil.
	Languages func(ctx context.Context, org int64) ([]string, error)
	// LinkGuest makes guests with an address the account's that has got it; nil where there are no guests.
	LinkGuest func(ctx context.Context, user matrix.UserID, org int64, medium, address string) error
	// Revoked is told of invitations that were revoked: what guests came by them end, too. nil where there are no guests.
	Revoked func(ctx context.Context, id string)
	// Wait lets a guest knock on a room that has a lobby, and reports whether the guest waits; nil where there are no lobbies.
	Wait func(ctx context.Context, room roomserver.Info, user matrix.UserID) (waiting bool, err error)
	// Redeemed is told of who has come in by an invitation, when they are in the room; it may be nil.
	Redeemed func(ctx context.Context, i store.Invitation, user matrix.UserID)
	// Phone says how an invitation's addressee calls in to its meeting. It is asked in the transaction that stores the invitation, before the message is. nil where
	// there are no phones.
	Phone func(ctx context.Context, tx *store.Tx, i *store.Invitation) ([]outbox.DialIn, error)
	// Meetings does what commands ask for about meetings; nil where there are none.
	Meetings MeetingCommands
	// Limiter counts invitations; nil counts nothing.
	Limiter *ratelimit.Limiter
}

// Server keeps invitations. It is safe for concurrent use.
type Server struct {
	cfg Config
	// publicKey is that of Key, as it stands in events.
	publicKey string
}

// New returns a Server.
func New(cfg Config) (*Server, error) {
	for name, missing := range map[string]bool{
		"Store": cfg.Store == nil, "Journal": cfg.Journal == nil, "Rooms": cfg.Rooms == nil, "Clock": cfg.Clock == nil, "Log": cfg.Log == nil,
		"Key": len(cfg.Key) != ed25519.PrivateKeySize, "ServerName": cfg.ServerName == "", "Enqueue": cfg.Enqueue == nil, "Cancel": cfg.Cancel == nil,
		"MayInvite": cfg.MayInvite == nil,
	} {
		if missing {
			return nil, errors.New("invitations: Config." + name + " is missing")
		}
	}
	cfg.BaseURL = strings.TrimSuffix(cfg.BaseURL, "/")
	return &Server{cfg: cfg, publicKey: PublicKey(cfg.Key)}, nil
}

// PublicKey is the public half of an identity key as it stands in events: unpadded base64.
func PublicKey(key ed25519.PrivateKey) string {
	return base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

// address is where a request came from, "" for the command line.
func address(ctx context.Context) string {
	if c, ok := httpapi.CallOf(ctx); ok {
		return c.ClientAddr()
	}
	return ""
}

// isRefusal reports an error that the same request would get again.
func isRefusal(err error) bool {
	e, ok := matrix.AsError(err)
	return ok && e.Status < http.StatusInternalServerError
}
