package ratelimit

import "time"

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
	// Account is changing a password, a profile or the like, by user.
	Account = "account"
	// Read is what is cheap and has no class of its own, by user or address.
	Read = "read"
	// Send is messages and state, by user.
	Send = "send"
	// Room is making rooms and changing memberships, by user.
	Room = "room"

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

// class is a limit: burst requests at once, and one more every interval.
type class struct {
	burst int
	every time.Duration
	// local limits are kept in memory, per process.
	local bool
}

// classes is the one table of limits.
var classes = map[string]class{
	Login:    {burst: 100, every: 250 * time.Millisecond}, // an office behind one address signs in on Monday morning
	Register: {burst: 10, every: 20 * time.Second},
	Refresh:  {burst: 500, every: 50 * time.Millisecond}, // every client of that office, every five minutes
	Probe:    {burst: 5, every: 10 * time.Second},
	Account:  {burst: 20, every: 2 * time.Second},
	Read:     {burst: 200, every: 20 * time.Millisecond, local: true},
	Send:     {burst: 500, every: 20 * time.Millisecond, local: true},
	Room:     {burst: 100, every: 200 * time.Millisecond, local: true},

	LoginFailure:        {burst: 5, every: time.Minute},
	LoginFailureKnown:   {burst: 5, every: 20 * time.Second},
	LoginFailureRow:     {burst: 100, every: 10 * 365 * 24 * time.Hour / 100}, // NIST SP 800-63B: at most 100 in a row
	LoginFailureAddress: {burst: 50, every: 5 * time.Second},
	LoginFailureAll:     {burst: 2000, every: 20 * time.Millisecond},
}

// Known reports whether the class is in the table; a test asks it for every route.
func Known(name string) bool {
	_, ok := classes[name]
	return ok
}
