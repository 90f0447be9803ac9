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
// Start reading at Config; the decoder is in load.go, what a valid one is in validate.go. Sections of some size have a file of their own, with their fields,
// defaults and rules: listeners.go, accounts.go, ratelimits.go, media.go, meetings.go; and telephony.go, voice.go and sip.go for mailboxes and phones.
package config

import (
	_ "embed"
	"encoding/base64"
	"errors"
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
	// shares a room and those in rooms that are published or that anybody may join or read, as on a server where anybody may register.
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

// What UserDirectory may be.
const (
	DirectoryOrganisation = "organisation"
	DirectoryRooms        = "rooms"
)

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
		Media:          defaultMedia(),
		Deletion:       Deletion{File: "sender", Text: "owner", Voice: "owner", Encrypted: "owner", EncryptedMedia: "sender"},
		Log:            Log{Level: "info", Format: "text"},
		DataDir:        "data",
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
