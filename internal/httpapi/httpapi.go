// Package httpapi stands between net/http and the handlers of all APIs: it finds the route, checks the access token, holds
// the limits, reads the body and writes every answer and every error.
//
// Spec: client-server v1.19 §api-standards, §standard-error-response, §web-browser-clients, §using-access-tokens
//
// Invariants:
//   - Every answer has the CORS and security headers, for unknown paths and panics too, and is JSON unless the handler says
//     otherwise (Content). Nothing is redirected.
//   - A path matches a route exactly: no extra segments, no trailing slash, no "." or "..", no "//". An escaped slash
//     stays inside its segment.
//   - Handlers return errors; answer.go is the one place that writes them. A *matrix.Error is the client's mistake, any
//     other error is ours: logged once, answered without detail.
//   - Neither tokens nor raw paths, queries or bodies reach a log line or a metric.
//   - What a handler sees has been checked: path values and query are UTF-8 without NUL, the body is strict JSON.
//
// Why an own matcher (match.go) and not http.ServeMux: ServeMux redirects "//" and "..", cannot tell an escaped dot
// segment from a plain one, and its 404 and 405 have to be caught and rewritten. The table here is a tree of segments.
//
// Start reading at serve.go.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomline/roomline/internal/matrix"
)

// AuthClass says what a route wants to know about who is asking.
type AuthClass int

const (
	// NoAuth: anyone; a token is not looked at.
	NoAuth AuthClass = iota
	// AccessToken: a valid access token is required.
	AccessToken
	// OptionalToken: a token may be missing, but if there is one it must be valid.
	OptionalToken
	// SharedSecret: no token; the handler checks a secret inside the body itself.
	SharedSecret
	// AppserviceToken: a valid token that belongs to an application service is required.
	AppserviceToken
	// AppPassword: a user name and an app password by HTTP Basic (RFC 7617) are required, for clients that speak nothing of ours.
	AppPassword
	// IdentityToken: a valid token of the identity service is required, which is no access token (identity §authentication).
	IdentityToken
	// SignedRequest: the request is signed by another server. New refuses such routes as long as nothing verifies them.
	SignedRequest
)

// Requester is who sent the request, as the Authenticator knows it.
type Requester struct {
	User       matrix.UserID
	Device     matrix.DeviceID
	Org        int64
	Role       Role // what the user is in the organisation, for people only
	Admin      bool // Role is RoleOwner
	Guest      bool
	GuestRole  string           // what kind of guest, see store.Guest
	Until      matrix.Timestamp // when the session of a guest ends, 0 for never
	Suspended  bool             // may read, and do little else
	SessionID  int64
	Appservice string   // id of the application service whose token this is, "" for people
	Service    string   // what its organisation calls it
	Grants     []string // what the application service may do besides acting for its users
	Scope      Scope    // nil for all that the requester may
	Unlimited  bool     // requests are not counted
}

// Scope narrows what the requests with a token may do and are told.
type Scope interface {
	// Admit refuses what may not be done. It is asked as soon as the requester is known.
	Admit(c *Call) error
	// Answer returns what is told of an answer.
	Answer(c *Call, result any) (any, error)
}

// Handler serves one route. The result is written as JSON: nil as {}, Raw as it is, Status with its own code.
// A handler that writes to c.W itself returns nil, nil.
type Handler func(ctx context.Context, c *Call) (any, error)

// Raw is a result that is JSON already.
type Raw []byte

// GuestAccess says which guests a route is open to.
type GuestAccess int

const (
	NoGuests GuestAccess = iota
	// SendingGuests are all but those who may only look.
	SendingGuests
	AllGuests
)

// observers are the guests who may only look: store.GuestObserver.
const observers = "observer"

func (a GuestAccess) includes(guest *Requester) bool {
	return a == AllGuests || a == SendingGuests && guest.GuestRole != observers
}

// Status is a result with another status than 200.
type Status struct {
	Code int
	Body any
}

// Content is a result that is not JSON.
type Content struct {
	Type  string
	Bytes []byte
}

// Route is one line of a route table.
type Route struct {
	Method string
	// Path is made of literal and variable segments, "/rooms/{roomId}/state/{eventType}". A last segment of {$} stands
	// for a trailing slash.
	Path    string
	Auth    AuthClass
	Limit   string // class of the rate limit, "" for none
	MaxBody int64  // bytes; 0 means limits.DefaultBody
	AnyBody bool   // the body need not be JSON
	Stream  bool   // the body is not read before the handler: it reads Call.Upload (files)
	Handle  Handler
	Doc     *Doc // for the OpenAPI document; nil leaves the route out of it
}

// Doc is what the OpenAPI document says of a route.
type Doc struct {
	// Summary is a sentence, Who says who may ask.
	Summary, Who string
	// Request and Response are values of the types of the bodies, whose fields are read by reflection; nil for none.
	Request, Response any
	Query             []Parameter
	// ContentType of the answer, if it is not JSON.
	ContentType string
}

// Parameter is a parameter of the query.
type Parameter struct {
	Name, Type, Summary string // Type is string, integer or boolean
}

// Authenticator turns an access token into who it belongs to. An unknown token is matrix.UnknownToken.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*Requester, error)
}

// PasswordAuthenticator turns a user name and an app password into who they belong to. Wrong ones are a *matrix.Error with status 401.
type PasswordAuthenticator interface {
	AuthenticatePassword(ctx context.Context, user, password string) (*Requester, error)
}

// Limiter counts requests of a class. who is nil where nobody has said who they are. A positive retryAfter refuses the request.
type Limiter interface {
	Admit(ctx context.Context, class string, who *Requester, address string) (retryAfter time.Duration, err error)
}

// Config is what New needs. Auth may be nil when no route asks for a token, AppPasswords when none asks for one of those; Limiter nil
// switches rate limits off;
// Metrics nil keeps the figures to ourselves.
type Config struct {
	Log     *slog.Logger
	Clock   matrix.Clock
	Auth    Authenticator
	Limiter Limiter
	Metrics prometheus.Registerer
	// AppPasswords checks what routes of the class AppPassword are sent.
	AppPasswords PasswordAuthenticator
	// IdentityTokens checks what routes of the class IdentityToken are sent.
	IdentityTokens Authenticator
	// Guests says which routes are open to guests, and to which of them; nil opens none. Routes that ask nobody who they are are open to all.
	Guests func(method, path string) GuestAccess
}

// New builds the handler for the given route tables. It panics when two routes collide or a route cannot be served as
// declared: that is a mistake in the table, found at the first start.
func New(cfg Config, tables ...[]Route) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = matrix.SystemClock{}
	}
	s := &server{
		log:      cfg.Log,
		clock:    cfg.Clock,
		auth:     cfg.Auth,
		basic:    cfg.AppPasswords,
		identity: cfg.IdentityTokens,
		limiter:  cfg.Limiter,
		metrics:  newMetrics(cfg.Metrics),
		epoch:    newEpoch(cfg.Clock.Now()),
		guests:   cfg.Guests,
	}
	s.none = s.metrics.forRoute("none")
	for _, table := range tables {
		for _, r := range table {
			s.add(r)
		}
	}
	return s
}
