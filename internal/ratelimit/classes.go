package ratelimit

import (
	"maps"
	"slices"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/store"
)

// Classes of requests. The first group is what routes name; the second is spent by the login code.
const (
	// Login is every attempt to sign in, by address: against floods, not against guessing.
	Login = "login"
	// Register is every attempt to make an account, by address.
	Register = "register"
	// Refresh is exchanging a refresh token, by address.
	Refresh = "refresh"
	// Probe is asking whether a user name or a registration token is good, by address.
	Probe = "probe"
	// Guests is opening links of invitations, asking for codes and redeeming, by address.
	Guests = "guests"
	// LoginToken is asking for a token that signs another device in, by user; each takes two requests.
	LoginToken = "login_token"
	// Account is changing a password, a profile or the like, by user.
	Account = "account"
	// Read is what is cheap and has no class of its own, by user or address.
	Read = "read"
	// Send is messages and state, by user.
	Send = "send"
	// ToDevice is messages to devices, by user: hundreds in a request.
	ToDevice = "to_device"
	// Backup is storing room keys in a backup, by user: hundreds in a request.
	Backup = "key_backup"
	// Room is making rooms and changing memberships, by user.
	Room = "room"
	// Keys is publishing, asking for and claiming keys of devices, by user. Who claims without end takes others' one-time keys away.
	Keys = "keys"
	// ThirdParty is asking what application services know, by user: each such request makes others.
	ThirdParty = "third_party"
	// Invitation is asking people outside into rooms, by user: each may send a message that costs money.
	Invitation = "invitation"
	// Sticky is events that are sticky, by user: everybody in the room is given all of them.
	Sticky = "sticky"
	// Delayed is restarting, sending and cancelling delayed events, by the user who scheduled them.
	Delayed = "delayed"

	// Call is asking for tokens for calls, by user; CallOpenID is asking for them by an OpenID token, by address.
	Call       = "call"
	CallOpenID = "call_openid"

	// Search is searching the directories and walking through spaces, by user.
	Search = "search"
	// Report is telling the operator of something, by user.
	Report = "report"

	// Media is fetching files, by user: a room list with its avatars at once.
	Media = "media"
	// Upload is storing files, by user.
	Upload = "upload"
	// Preview is asking what is behind a link, by user: each may make the server fetch a page.
	Preview = "url_preview"

	// AddressBook is reading and writing address books, by user: some programs send a request for each contact.
	AddressBook = "address_book"
	// Import is importing and exporting all contacts, by user.
	Import = "contacts_import"

	// AppPasswordFailure is wrong app passwords for one account from one address, AppPasswordFailureAddress those from one address for any
	// account. They are apart from wrong passwords: a phone that does not know of its app password's end tries again and again.
	AppPasswordFailure        = "app_password_failure"
	AppPasswordFailureAddress = "app_password_failure_address"

	// CodeAddress is codes that are sent to one address, CodeAsker those that one user asks for, or one client without an account, and
	// CodeAnonymous those that all clients without an account ask for. CodeCheck is giving a code, by address of the client.
	CodeAddress   = "code_address"
	CodeAsker     = "code_asker"
	CodeAnonymous = "code_anonymous"
	CodeCheck     = "code_check"

	// Lookup is looking addresses up by their hashes, by user: up to a thousand in a request.
	Lookup = "lookup"

	// PhonePINCall is wrong PINs in one call, PhonePINCaller those from one number, PhonePINWithheld those over one trunk from numbers that are withheld,
	// PhonePINTrunk those over one trunk, and PhonePINAll those at all.
	PhonePINCall     = "phone_pin_call"
	PhonePINCaller   = "phone_pin_caller"
	PhonePINWithheld = "phone_pin_withheld"
	PhonePINTrunk    = "phone_pin_trunk"
	PhonePINAll      = "phone_pin_all"
	// PhoneCall is having people called, by user: each costs money.
	PhoneCall = "phone_call"

	// LoginFailure is wrong passwords for one account from anywhere.
	LoginFailure = "login_failure"
	// LoginFailureKnown is wrong passwords for one account from an address where the account has a device. It is apart from
	// LoginFailure, so that a stranger's guesses keep nobody out.
	LoginFailureKnown = "login_failure_known"
	// LoginFailureRow is wrong passwords for one account since the last right one.
	LoginFailureRow = "login_failure_row"
	// LoginFailureAddress is wrong passwords from one address, for any account.
	LoginFailureAddress = "login_failure_address"
	// LoginFailureAll is wrong passwords for all accounts from all addresses.
	LoginFailureAll = "login_failure_all"
)

// The groups that every limited request counts for besides its class, so that who has many accounts, devices or rooms can't
// have many times the limit. They are wide: an office behind one address, or a customer with ten thousand people, stays below.
const (
	// ByDevice is all limited requests of a device.
	ByDevice = "by_device"
	// ByAddress is all limited requests from an address.
	ByAddress = "by_address"
	// ByOrganisation is all limited requests of an organisation's users.
	ByOrganisation = "by_organisation"
)

// Class is a limit: Burst requests at once, and one more Every so often.
type Class struct {
	Burst int
	Every time.Duration
}

// defaults is the one table of limits. The configuration may replace lines (rate_limits.classes).
//
// Why Send is so wide: a call's membership, receipts and typing are sends as well; clients of Element Call need at least 30 at once
// and one every two seconds.
var defaults = map[string]Class{
	Login:    {Burst: 500, Every: 250 * time.Millisecond}, // an office behind one address signs in on Monday morning
	Register: {Burst: 10, Every: 20 * time.Second},
	Refresh:  {Burst: 500, Every: 50 * time.Millisecond}, // every client of that office, every five minutes
	Probe:    {Burst: 5, Every: 10 * time.Second},
	Guests:   {Burst: 400, Every: 500 * time.Millisecond}, // the guests of a conference, at one address, four requests each
	Account:  {Burst: 20, Every: 2 * time.Second},
	Read:     {Burst: 500, Every: 20 * time.Millisecond},
	Send:     {Burst: 500, Every: 20 * time.Millisecond},
	ToDevice: {Burst: 500, Every: 20 * time.Millisecond}, // a key for each device of a large room, 20 devices at a time
	Backup:   {Burst: 100, Every: 50 * time.Millisecond}, // a client that begins a backup stores all keys it has, 100 at a time
	Room:     {Burst: 100, Every: 200 * time.Millisecond},
	Keys:     {Burst: 200, Every: 100 * time.Millisecond},
	// One takes two requests: the spec advises one a minute.
	LoginToken: {Burst: 6, Every: 30 * time.Second},
	ThirdParty: {Burst: 30, Every: 500 * time.Millisecond},
	// A meeting with its guests at once, and then as fast as somebody types addresses.
	Invitation: {Burst: 50, Every: 10 * time.Second},
	// A device in a call sends one every few minutes.
	Sticky: {Burst: 60, Every: time.Second},
	// What calls need at least: a heartbeat every few seconds, from several devices.
	Delayed: {Burst: 20, Every: time.Second},

	// A device asks when it joins and when it comes back; newer clients ask for each server that others publish to.
	Call:       {Burst: 60, Every: 500 * time.Millisecond},
	CallOpenID: {Burst: 500, Every: 50 * time.Millisecond}, // the office of the Monday morning, all in calls

	Search: {Burst: 100, Every: 100 * time.Millisecond}, // a letter at a time, as people type
	Report: {Burst: 10, Every: 10 * time.Second},

	Media:   {Burst: 1000, Every: 10 * time.Millisecond},
	Upload:  {Burst: 100, Every: 500 * time.Millisecond},
	Preview: {Burst: 30, Every: time.Second},

	AddressBook: {Burst: 2000, Every: 5 * time.Millisecond},
	Import:      {Burst: 10, Every: 10 * time.Second},

	AppPasswordFailure:        {Burst: 20, Every: 10 * time.Second},
	AppPasswordFailureAddress: {Burst: 200, Every: time.Second}, // the phones of an office on the day after

	// Five tries for each code of six digits: 400 tries a day at one address, of a million codes.
	CodeAddress:   {Burst: 5, Every: 20 * time.Minute},
	CodeAsker:     {Burst: 20, Every: time.Minute}, // an office behind one address that forgot its passwords
	CodeAnonymous: {Burst: 200, Every: 5 * time.Second},
	CodeCheck:     {Burst: 50, Every: 3 * time.Second},
	Lookup:        {Burst: 30, Every: 5 * time.Second}, // a large address book at once

	// A PIN has ten digits: with a hundred thousand of them in use, somebody who has every caller's number guesses one in a week.
	PhonePINCall:     {Burst: limits.PhoneTries, Every: time.Hour},
	PhonePINCaller:   {Burst: 10, Every: 6 * time.Minute},
	PhonePINWithheld: {Burst: 30, Every: time.Minute},
	PhonePINTrunk:    {Burst: 60, Every: 10 * time.Second},
	PhonePINAll:      {Burst: 100, Every: 5 * time.Second},
	PhoneCall:        {Burst: 20, Every: 10 * time.Second},

	LoginFailure:        {Burst: 5, Every: time.Minute},
	LoginFailureKnown:   {Burst: 5, Every: 20 * time.Second},
	LoginFailureRow:     {Burst: 100, Every: 10 * 365 * 24 * time.Hour / 100}, // NIST SP 800-63B: at most 100 in a row
	LoginFailureAddress: {Burst: 50, Every: 5 * time.Second},
	LoginFailureAll:     {Burst: 2000, Every: 20 * time.Millisecond},

	ByDevice:       {Burst: 1000, Every: 10 * time.Millisecond},
	ByAddress:      {Burst: 50_000, Every: 500 * time.Microsecond},
	ByOrganisation: {Burst: 100_000, Every: 200 * time.Microsecond},
}

// onCredit are the classes of which a process may admit a little by itself, because a round trip for each request would cost more
// than what it protects. What guards passwords and accounts is not among them: it is exact, and closed when the database is away.
var onCredit = map[string]bool{Read: true, Send: true, Room: true, Keys: true, Delayed: true, ThirdParty: true, Sticky: true, Call: true, CallOpenID: true, Search: true, Media: true, AddressBook: true, ByDevice: true, ByAddress: true, ByOrganisation: true}

// Known reports whether the class is in the table; a test asks it for every route.
func Known(name string) bool {
	_, ok := defaults[name]
	return ok
}

// Names lists the classes.
func Names() []string { return slices.Sorted(maps.Keys(defaults)) }

// Default returns a class as it is without configuration.
func Default(name string) Class { return defaults[name] }

func (c Class) capacity() time.Duration { return c.Every * time.Duration(c.Burst) }

func (c Class) bucket(name, key string) store.Bucket {
	hash := hashKey(key)
	return store.Bucket{Class: name, Key: hash[:], Interval: c.Every.Microseconds(), Capacity: c.capacity().Microseconds()}
}
