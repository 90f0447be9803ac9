// Package config is the configuration of Roomline: one struct, one YAML file.
//
// The doc comment of a field is its documentation everywhere: example.yaml is generated from the comments
// (make config-example) and compared in a test. A field that the struct does not have, or a value that does not fit, is refused
// with the file's line and the field's name.
//
// A secret (a field of type Secret) named x may be given in three ways: x in the file; x_file, the path of a file that only
// its owner may read; or the environment variable ROOMLINE_<PATH>, where PATH is the field's path in capitals with
// underscores. The environment wins.
//
// Start reading at Config; the decoder is in load.go, the rules in validate.go; what is sent to mailboxes and phones has a chapter of its own, telephony.go, and meetings have one, meetings.go.
package config

import (
	_ "embed"
	"encoding/base64"
	"errors"
	"log/slog"
	"time"
)

// Config is the whole configuration.
type Config struct {
	// ServerName is the part of user ids and room aliases after the colon, such as example.org in @alice:example.org. It can't be
	// changed once the database has been used.
	ServerName string `yaml:"server_name" example:"example.org"`

	// HostedDomains are the server names that are at home here, each with its own signing keys. The first one is
	// server_name. Empty: only server_name.
	HostedDomains []string `yaml:"hosted_domains" example:"[example.org]"`

	// PublicBaseURL is where clients reach the server. It is announced in /.well-known/matrix/client. Empty: nothing is
	// announced, except in dev mode.
	PublicBaseURL string `yaml:"public_base_url" example:"https://matrix.example.org"`

	// Database is the PostgreSQL database. All processes of a deployment share it.
	Database Database `yaml:"database"`

	// Listeners are the addresses that the server listens on.
	Listeners []Listener `yaml:"listeners"`

	// TrustedProxies are the addresses or networks (CIDR) of reverse proxies. Only from them is X-Forwarded-For
	// believed.
	TrustedProxies []string `yaml:"trusted_proxies" example:"[127.0.0.1, \"::1\"]"`

	// SigningKeys protects the keys that the hosted domains sign their events with.
	SigningKeys SigningKeys `yaml:"signing_keys"`

	// Registration is how accounts come into being without an administrator.
	Registration Registration `yaml:"registration"`

	// OIDC lets users sign in through OpenID providers.
	OIDC OIDC `yaml:"oidc"`

	// RateLimits hold back clients that ask too often.
	RateLimits RateLimits `yaml:"rate_limits"`

	// DefaultRoomVersion is the version of rooms for which the client names none. Empty: the one that the specification
	// recommends, 12.
	DefaultRoomVersion string `yaml:"default_room_version"`

	// PublicProfiles lets anybody look up display names and avatars, without an access token.
	PublicProfiles bool `yaml:"public_profiles"`

	// UserDirectory is whom a search for people finds of one's own organisation: "organisation" is everybody, "rooms" those with whom one
	// shares a room and those in published rooms, as on a server where anybody may register.
	UserDirectory string `yaml:"user_directory"`

	// Accounts is what holds for the accounts of organisations that have not decided otherwise in their policy "accounts".
	Accounts Accounts `yaml:"accounts"`

	// IdentityServer is the identity service, by which clients find people by their e-mail addresses and phone numbers.
	IdentityServer IdentityServer `yaml:"identity_server"`

	// Federation is the exchange with other Matrix servers.
	Federation Federation `yaml:"federation"`

	// Outbound is what the server asks others by HTTP: push gateways, application services, OpenID providers.
	Outbound Outbound `yaml:"outbound"`

	// Appservices are bridges and bots that act for many users.
	Appservices Appservices `yaml:"appservices"`

	// Telephony is how invitations and codes get to mailboxes and phones.
	Telephony Telephony `yaml:"telephony"`

	// Meetings are calls of more than two, with picture, sound and shared screens.
	Meetings Meetings `yaml:"meetings"`

	// TURN is the relay for calls between two people whose devices can't reach each other.
	TURN TURN `yaml:"turn"`

	// Presence is who is there and who is not.
	Presence Presence `yaml:"presence"`

	// DelayedEvents are events that clients have sent later; a call ends by one when its device goes away.
	DelayedEvents DelayedEvents `yaml:"delayed_events"`

	// Media is files, pictures and recordings.
	Media Media `yaml:"media"`

	// AddressBooks are the contacts on people's phones.
	AddressBooks AddressBooks `yaml:"address_books"`

	// Deletion is who may delete what they sent: sender, or owner for whoever has the power to redact in the room. The owner may delete
	// everything in any case. Organisations and rooms may decide otherwise.
	Deletion Deletion `yaml:"deletion"`

	// PolicyServer is announced in /.well-known/matrix/policy_server, if there is one.
	PolicyServer PolicyServer `yaml:"policy_server"`

	// ServerNotices is how the server looks to users whom an administrator writes to in its name.
	ServerNotices ServerNotices `yaml:"server_notices"`

	// Support is announced in /.well-known/matrix/support.
	Support Support `yaml:"support"`

	// Log is written to the standard error.
	Log Log `yaml:"log"`

	// DataDir is the folder for what is kept on this machine: the private PostgreSQL cluster and generated secrets. In a
	// deployment with a database and an encryption key of its own it stays empty.
	DataDir string `yaml:"data_dir"`

	// Dev makes an example organisation with two users and a room at the first start, prints how to sign in, and
	// listens on 127.0.0.1:8008 as server "localhost" unless told otherwise. Not for production.
	Dev bool `yaml:"dev"`
}

// AddressBooks says how phones are set up.
type AddressBooks struct {
	// ProfileSigning are the certificate and key files (PEM, RSA or ECDSA) that the profiles for iPhones are signed with, so that these show
	// from whom a profile is. Empty: those of the first listener that serves client and has any. Without a certificate no profiles are
	// given out.
	ProfileSigning TLS `yaml:"profile_signing"`
}

// Database says where the data is.
type Database struct {
	// URL of the database, postgres://user:password@host/name?sslmode=verify-full. The database needs the encoding UTF8
	// and a user who owns it. Empty: the server runs a private PostgreSQL cluster in data_dir, with the programs
	// that are installed.
	URL Secret `yaml:"url"`

	// PoolSize bounds the connections of one process. A few more are used for notifications and leases.
	PoolSize int `yaml:"pool_size"`
}

// Listener is an address that the server listens on.
type Listener struct {
	// Address is host:port. An empty host means all addresses.
	Address string `yaml:"address" example:"\":8448\""`

	// TLS are the certificate and key files (PEM). They are read again when they change. Without them the listener
	// speaks plain HTTP, which belongs behind a reverse proxy.
	TLS TLS `yaml:"tls"`

	// Serve lists what is served: client (the client-server API), federation (the server-server API and signing keys) and
	// admin (/healthz, /readyz, /metrics: for an internal address).
	Serve []Service `yaml:"serve" example:"[client, federation]"`
}

// TLS names the files of a certificate.
type TLS struct {
	// Cert is the certificate with its chain.
	Cert string `yaml:"cert" example:"/etc/roomline/tls.crt"`

	// Key is the private key.
	Key string `yaml:"key" example:"/etc/roomline/tls.key"`
}

// Enabled reports whether there is a certificate.
func (t TLS) Enabled() bool { return t.Cert != "" }

// Service is something a listener serves.
type Service string

// The services.
const (
	ServeClient     Service = "client"
	ServeFederation Service = "federation"
	ServeAdmin      Service = "admin"
)

// SigningKeys says how signing keys are protected.
type SigningKeys struct {
	// EncryptionKey encrypts the signing keys in the database: 32 random bytes in base64 (openssl rand -base64 32). All
	// processes of a deployment need the same. Keep a copy: without it the rooms of the server cannot go on. Empty:
	// a key is made at the first start and kept in data_dir.
	EncryptionKey Secret `yaml:"encryption_key"`
}

// Bytes decodes the key. ok is false when there is none.
func (k SigningKeys) Bytes() (key [32]byte, ok bool, err error) {
	text := k.EncryptionKey.Reveal()
	if text == "" {
		return key, false, nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		raw, err = base64.RawStdEncoding.DecodeString(text)
	}
	if err != nil || len(raw) != len(key) {
		return key, false, errors.New("must be 32 bytes in base64")
	}
	return [32]byte(raw), true, nil
}

// Registration says who may make an account.
type Registration struct {
	// Mode is off (accounts are made by the organisation: roomline user create), token (with a registration token) or open
	// (anybody: only for tests).
	Mode RegistrationMode `yaml:"mode"`

	// SharedSecret lets tools that know it make accounts through /_synapse/admin/v1/register, administrators too.
	// Empty: that way is closed.
	SharedSecret Secret `yaml:"shared_secret"`
}

// RegistrationMode says who may make an account.
type RegistrationMode string

// The modes.
const (
	RegistrationOff   RegistrationMode = "off"
	RegistrationToken RegistrationMode = "token"
	RegistrationOpen  RegistrationMode = "open"
)

// OIDC is signing in through OpenID providers (single sign-on).
type OIDC struct {
	// RedirectURLs are addresses of clients, or beginnings of them, such as https://chat.example.org/ or myapp://login. Only they get
	// the user's login token without asking the user.
	RedirectURLs []string `yaml:"redirect_urls"`

	// Providers are offered in this order. They need public_base_url: the callback to register with them is
	// <public_base_url>/_roomline/sso/callback.
	Providers []OIDCProvider `yaml:"providers"`
}

// OIDCProvider is an OpenID provider.
type OIDCProvider struct {
	// ID is part of URLs: letters, digits, - . _ ~ only. Don't change it.
	ID string `yaml:"id" example:"example"`

	// Name is what users read.
	Name string `yaml:"name" example:"Example Ltd"`

	// Icon is an mxc:// URI. Empty: none.
	Icon string `yaml:"icon"`

	// Issuer is the provider's address, below which /.well-known/openid-configuration is.
	Issuer string `yaml:"issuer" example:"https://login.example.org"`

	// ClientID is what the provider calls this server.
	ClientID string `yaml:"client_id" example:"roomline"`

	// ClientSecret is the password that goes with it. Empty: PKCE alone has to do.
	ClientSecret Secret `yaml:"client_secret"`

	// Scopes are asked for besides openid.
	Scopes []string `yaml:"scopes" example:"[profile, email]"`

	// Domain is the hosted domain where the users' accounts are. Empty: server_name.
	Domain string `yaml:"domain"`

	// User is existing-only (the organisation makes the accounts) or create (whoever the provider lets in gets one, named
	// by localpart_claim). Empty: existing-only.
	User OIDCUser `yaml:"user"`

	// LocalpartClaim is the claim with the part of the user id before the colon. Use it only if the provider's users can't choose it:
	// who comes first with the name of an account gets it. Empty: accounts are not found by name.
	LocalpartClaim string `yaml:"localpart_claim" example:"preferred_username"`

	// EmailClaim is the claim with an e-mail address of the account, which counts if the provider says email_verified.
	// Empty: accounts are not found by address.
	EmailClaim string `yaml:"email_claim"`
}

// OIDCUser says whether accounts are made.
type OIDCUser string

// The ways.
const (
	OIDCExisting OIDCUser = "existing-only"
	OIDCCreate   OIDCUser = "create"
)

// RateLimits hold back clients that ask too often.
type RateLimits struct {
	// Enabled is false only in tests and benchmarks.
	Enabled bool `yaml:"enabled"`

	// Classes replace limits by their names: burst requests at once, and one more every so often. They hold for all
	// processes together. By user: send (messages, state, typing, receipts), read, room (creating, joining, inviting),
	// delayed (delayed events), account (profile, password), media, upload, url_preview. By address: login, register, refresh, probe (is a user name free), guests (links of invitations). Over all of them:
	// by_device, by_address (an IPv6 address counts as its /64), by_organisation. Wrong passwords: login_failure (by account),
	// login_failure_known (from where the account has a device), login_failure_row (since the last right one),
	// login_failure_address, login_failure_all. Element Call needs at least
	// {burst: 30, every: 2s} of send and {burst: 20, every: 1s} of delayed.
	Classes map[string]RateLimit `yaml:"classes" example:"{send: {burst: 500, every: 20ms}}"`

	// ExemptUsers are never limited, such as a bot that greets everybody.
	ExemptUsers []string `yaml:"exempt_users"`

	// ExemptAppservices are the ids of application services that are never limited. The others count as one user each.
	ExemptAppservices []string `yaml:"exempt_appservices"`
}

// RateLimit is one limit.
type RateLimit struct {
	// Burst is how many requests may come at once.
	Burst int `yaml:"burst"`

	// Every is how long it takes until there may be one more, such as 20ms or 5s.
	Every time.Duration `yaml:"every"`
}

// Accounts is what holds for accounts.
type Accounts struct {
	// SelfDeactivate lets people close their own accounts in the app. Without it only their organisation closes accounts.
	SelfDeactivate bool `yaml:"self_deactivate"`
	// EraseMessages removes what somebody has written when the organisation deletes the account. Without it the words stay, and
	// the name goes.
	EraseMessages bool `yaml:"erase_messages"`
	// EraseMedia removes the files that somebody has uploaded when the organisation deletes the account.
	EraseMedia bool `yaml:"erase_media"`
}

// IdentityServer is the identity service. The server is its own, for its own people.
type IdentityServer struct {
	// Announce names it in /.well-known/matrix/client, if public_base_url is set. Without it clients use none unless they are told to.
	Announce bool `yaml:"announce"`
}

// Federation is the exchange with other Matrix servers.
type Federation struct {
	// Enabled serves the server-server API on the listeners that name it, and lets this server talk to others.
	Enabled bool `yaml:"enabled"`

	// WellKnownServer is the host:port that /.well-known/matrix/server announces. Empty: nothing is announced.
	WellKnownServer string `yaml:"well_known_server"`

	// CAFile holds the certificate authorities (PEM) that other servers' certificates are checked with, in place of the
	// system's.
	CAFile string `yaml:"ca_file"`

	// AllowPrivateAddresses allows connections to servers on private and loopback addresses. Only for tests and closed
	// networks: it lets strangers make this server connect to your internal network.
	AllowPrivateAddresses bool `yaml:"allow_private_addresses"`
}

// Outbound is what the server asks others by HTTP: push gateways, application services, OpenID providers.
type Outbound struct {
	// AllowedAddresses are addresses and networks (CIDR) that may be reached although they are not public, for example that of
	// an application service beside this server. Everything private, loopback and link-local is refused otherwise.
	AllowedAddresses []string `yaml:"allowed_addresses" example:"[10.20.0.0/16]"`
}

// Appservices are bridges and bots that act for many users.
type Appservices struct {
	// Registrations are the paths of the registration files (YAML, as the application-service API describes them). Others are registered while
	// the server runs: with roomline appservice add, or through the admin API.
	Registrations []string `yaml:"registrations"`
}

// TURN is the relay for calls between two.
type TURN struct {
	// URIs of the relay, such as turns:turn.example.org?transport=tcp. Empty: there is none.
	URIs []string `yaml:"uris"`

	// SharedSecret is what the relay knows as static-auth-secret (coturn). Everybody gets credentials of their own then, which end
	// after lifetime.
	SharedSecret Secret `yaml:"shared_secret"`

	// Username and password are the same for everybody, for a relay without a shared secret.
	Username string `yaml:"username"`

	// Password belongs to username.
	Password Secret `yaml:"password"`

	// Lifetime is how long clients may use credentials before they ask for new ones. Clients ask every ten minutes at most.
	Lifetime time.Duration `yaml:"lifetime"`
}

// Presence is who is there and who is not.
type Presence struct {
	// Enabled is false where nobody is to see who is online: everybody is offline then.
	Enabled bool `yaml:"enabled"`
}

// DelayedEvents bounds events that are sent later.
type DelayedEvents struct {
	// MaxDelay is the longest delay, a duration such as 24h.
	MaxDelay time.Duration `yaml:"max_delay"`

	// MaxScheduled is how many a user may have waiting. 0: events can't be delayed.
	MaxScheduled int `yaml:"max_scheduled"`
}

// Media is files, pictures and recordings.
type Media struct {
	// Store is folder or s3: where the bytes are. Several processes on several machines need s3.
	Store MediaStore `yaml:"store"`

	// Folder is for the store folder. Empty: media in data_dir.
	Folder string `yaml:"folder"`

	// S3 is for the store s3: a bucket of any server that speaks S3, such as MinIO.
	S3 S3 `yaml:"s3"`

	// PresignedDownloads sends clients that allow it to the bucket itself, with an address that is good for a minute: s3.public_endpoint, or
	// else s3.endpoint. A browser shows nothing of it, it only saves.
	PresignedDownloads bool `yaml:"presigned_downloads"`

	// MaxUploadSize is the largest file, in bytes.
	MaxUploadSize int `yaml:"max_upload_size"`

	// UserQuota and organisation_quota bound how much a user and an organisation may have, in bytes. 0: no bound. Organisations may be given
	// others.
	UserQuota int `yaml:"user_quota"`

	// OrganisationQuota is the bound for all users of an organisation together.
	OrganisationQuota int `yaml:"organisation_quota"`

	// UserFiles bounds how many files a user may have. 0: no bound.
	UserFiles int `yaml:"user_files"`

	// QuotaInfoURL is where users are sent who have used their quota up. Empty: public_base_url, or else the server's
	// name.
	QuotaInfoURL string `yaml:"quota_info_url"`

	// UnusedFor is how long a file is kept that was uploaded and not sent.
	UnusedFor time.Duration `yaml:"unused_for"`

	// Retention removes media by age, for each kind: file, image, video, audio, voice, sticker, encrypted, other. Avatars stay.
	Retention map[string]time.Duration `yaml:"retention" example:"{voice: 2160h}"`

	// UnauthenticatedUntil serves media that was uploaded before this time (RFC 3339) to everybody who knows its address, as was
	// usual before Matrix 1.11. Empty: nothing.
	UnauthenticatedUntil string `yaml:"unauthenticated_until" example:"2024-09-01T00:00:00Z"`

	// URLPreviews is off; asked (for the organisations that want it); or on (but for those that don't): clients may ask what is behind a
	// link, and the server fetches the page.
	URLPreviews URLPreviews `yaml:"url_previews"`

	// URLPreviewAddresses are addresses and networks (CIDR) that previews may reach although they are not public. Every user can look into
	// them then.
	URLPreviewAddresses []string `yaml:"url_preview_addresses" example:"[10.30.0.0/16]"`

	// URLPreviewAllow are the domains of which previews are fetched, with those below them. Empty: all.
	URLPreviewAllow []string `yaml:"url_preview_allow" example:"[example.org]"`

	// URLPreviewDeny are domains of which none are, with those below them.
	URLPreviewDeny []string `yaml:"url_preview_deny" example:"[example.com]"`

	// ClamAV judges uploads.
	ClamAV ClamAV `yaml:"clamav"`
}

// MediaStore is where the bytes of media are.
type MediaStore string

// URLPreviews says for whom pages are fetched.
type URLPreviews string

// For whom.
const (
	URLPreviewsOff   URLPreviews = "off"
	URLPreviewsAsked URLPreviews = "asked"
	URLPreviewsOn    URLPreviews = "on"
)

// The stores.
const (
	MediaFolder MediaStore = "folder"
	MediaS3     MediaStore = "s3"
)

// S3 is a bucket.
type S3 struct {
	// Endpoint is the server's address. http:// is for networks that nobody else is in.
	Endpoint string `yaml:"endpoint" example:"https://minio.internal:9000"`

	// PublicEndpoint is the address of the same server for clients, which presigned_downloads sends them to. It needs region. Empty: endpoint.
	PublicEndpoint string `yaml:"public_endpoint" example:"https://files.example.org"`

	// Region of the bucket.
	Region string `yaml:"region"`

	// Bucket has to exist.
	Bucket string `yaml:"bucket" example:"roomline-media"`

	// Prefix of all keys, if others use the bucket, too.
	Prefix string `yaml:"prefix"`

	// PathStyle puts the bucket into the path (MinIO) and not into the host name (AWS).
	PathStyle bool `yaml:"path_style"`

	// AccessKey and secret_key are those of a user who may read, write, list and delete in the bucket.
	AccessKey string `yaml:"access_key"`

	// SecretKey belongs to access_key.
	SecretKey Secret `yaml:"secret_key"`

	// CAFile holds the certificate authorities (PEM) that the server's certificate is checked with, in place of the system's.
	CAFile string `yaml:"ca_file"`

	// Encryption at rest: empty, SSE-S3, or SSE-KMS:<key id>.
	Encryption string `yaml:"encryption"`
}

// ClamAV is a virus scanner.
type ClamAV struct {
	// Address of clamd: host:port, or unix:/path of its socket. Empty: uploads are not judged. While it is away nothing can be
	// uploaded.
	Address string `yaml:"address" example:"unix:/run/clamav/clamd.ctl"`

	// Oversize says what becomes of files that are larger than clamd takes (StreamMaxLength): refuse or accept.
	Oversize string `yaml:"oversize"`
}

// Deletion is who may delete what they sent.
type Deletion struct {
	// File is files, pictures, videos, recordings and stickers.
	File string `yaml:"file"`

	// Text is messages of text, and polls.
	Text string `yaml:"text"`

	// Voice is voice messages.
	Voice string `yaml:"voice"`

	// Encrypted is what the server can't see the kind of.
	Encrypted string `yaml:"encrypted"`

	// EncryptedMedia is encrypted events with which a file was uploaded.
	EncryptedMedia string `yaml:"encrypted_media"`
}

// PolicyServer is a server that judges events before rooms take them (m.room.policy), under the name of this one.
type PolicyServer struct {
	// PublicKeys are its keys by algorithm, in unpadded base64; ed25519 has to be among them. Empty: nothing is announced.
	PublicKeys map[string]string `yaml:"public_keys"`
}

// ServerNotices is how the server looks to its users.
type ServerNotices struct {
	// DisplayName is the name of the sender.
	DisplayName string `yaml:"display_name"`

	// AvatarURL is the sender's picture, an mxc:// URI.
	AvatarURL string `yaml:"avatar_url" example:"mxc://example.org/abcdef"`

	// RoomName is what the room is called in which a user gets notices.
	RoomName string `yaml:"room_name"`
}

// Support says whom to ask for help.
type Support struct {
	// Contacts are people to write to.
	Contacts []Contact `yaml:"contacts"`

	// Page is the URL of a page with help.
	Page string `yaml:"page"`
}

// Contact is somebody to write to: by Matrix, by mail, or both.
type Contact struct {
	// Role is m.role.admin, m.role.security or a namespaced one of your own.
	Role string `yaml:"role" example:"m.role.admin"`

	// MatrixID of the contact.
	MatrixID string `yaml:"matrix_id" example:"\"@admin:example.org\""`

	// Email address of the contact.
	Email string `yaml:"email" example:"admin@example.org"`
}

// Log says what is logged.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`

	// Format is text or json.
	Format string `yaml:"format"`
}

// Secret is a string that does not show itself when it is printed or logged.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(secret)"
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Defaults returns the configuration that an empty file means. It lacks a server name and listeners.
func Defaults() *Config {
	return &Config{
		Database:       Database{PoolSize: 16},
		UserDirectory:  DirectoryOrganisation,
		Registration:   Registration{Mode: RegistrationOff},
		RateLimits:     RateLimits{Enabled: true},
		Accounts:       Accounts{EraseMedia: true},
		IdentityServer: IdentityServer{Announce: true},
		Federation:     Federation{Enabled: true},
		Telephony:      defaultTelephony(),
		Meetings:       defaultMeetings(),
		TURN:           TURN{Lifetime: time.Hour},
		ServerNotices:  ServerNotices{DisplayName: "Server notices", RoomName: "Server notices"},
		Presence:       Presence{Enabled: true},
		DelayedEvents:  DelayedEvents{MaxDelay: 24 * time.Hour, MaxScheduled: 100},
		Media: Media{
			Store: MediaFolder, MaxUploadSize: 100 << 20, URLPreviews: URLPreviewsOff, UnusedFor: 24 * time.Hour,
			S3: S3{Region: "us-east-1", PathStyle: true}, ClamAV: ClamAV{Oversize: "refuse"},
		},
		Deletion: Deletion{File: "sender", Text: "owner", Voice: "owner", Encrypted: "owner", EncryptedMedia: "sender"},
		Log:      Log{Level: "info", Format: "text"},
		DataDir:  "data",
	}
}

// Development returns the configuration of a server that is being tried out.
func Development() *Config {
	c := Defaults()
	c.Dev = true
	c.developmentDefaults()
	return c
}

func (c *Config) developmentDefaults() {
	if c.ServerName == "" && len(c.HostedDomains) == 0 {
		c.ServerName = "localhost"
	}
	if len(c.Listeners) == 0 {
		c.Listeners = []Listener{{
			Address: "127.0.0.1:8008",
			Serve:   []Service{ServeClient, ServeFederation, ServeAdmin},
		}}
	}
	if c.Meetings.LiveKit.URL == "" {
		c.Meetings.LiveKit.Embedded = true
	}
}

// Domains returns all hosted domains, server_name first.
func (c *Config) Domains() []string {
	if len(c.HostedDomains) == 0 {
		return []string{c.ServerName}
	}
	return c.HostedDomains
}

//go:embed example.yaml
var example string

// Example returns a documented example of the file, with all fields.
func Example() string { return example }
