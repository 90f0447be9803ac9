package limits

import "time"

// Addresses and the codes that prove them (clientapi/verify, clientapi/identity).
const (
	// Mailbox bounds an e-mail address that something is sent to: RFC 5321 allows a path of 256 with its brackets.
	Mailbox = 254

	// ClientSecret is set by the spec (client-server §adding-account-administrative-contact-information: 255), ValidationToken too
	// (identity §format-of-a-validation-token).
	ClientSecret    = 255
	ValidationToken = 255

	// NextLink bounds where a browser goes after an address was confirmed.
	NextLink = 2 << 10

	// Validation is for how long a code is good, ValidationKept for how long it is known that it was given. The spec allows a day for each.
	Validation     = 15 * time.Minute
	ValidationKept = time.Hour

	// ValidationTries is how many wrong codes end a validation.
	ValidationTries = 5

	// IdentityToken is for how long a token of the identity service is good. Clients get another one by themselves.
	IdentityToken = 24 * time.Hour

	// LookupAddresses bounds the addresses of one lookup: a phone's address book in a few requests.
	LookupAddresses = 1000

	// LookupPepper is for how long the pepper of lookups stays the same. LookupKept bounds the addresses whose hashes a process keeps, of all
	// organisations together: some 50 bytes each. LookupSettled is how many changes of directories are numbered at a time.
	LookupPepper  = 30 * 24 * time.Hour
	LookupKept    = 500_000
	LookupSettled = 5000

	// Association is for how long a signed association says that it holds.
	Association = 365 * 24 * time.Hour
)
