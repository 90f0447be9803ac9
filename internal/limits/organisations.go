package limits

import "time"

// Address books.
const (
	// VCard bounds a vCard: a picture of a few hundred kilobytes fits. VCardProperties and VCardParams bound what is in it.
	VCard           = 1 << 20
	VCardProperties = 1000
	VCardParams     = 50

	// ContactsPerUser and ContactBytes bound a personal address book. People have hundreds, sales people thousands.
	ContactsPerUser = 50_000
	ContactBytes    = 256 << 20

	// ContactName bounds the name of an object of an address book; clients choose UUIDs.
	ContactName = 255

	// ContactImport bounds a file of vCards, ContactImportCards the cards in it, ContactImportErrors the cards that an answer says are broken.
	ContactImport       = 32 << 20
	ContactImportCards  = 20_000
	ContactImportErrors = 100

	// ContactsPage bounds the contacts of one answer of the JSON API.
	ContactsPage = 500

	// ContactsDeletedKept is for how long devices can learn that a contact was deleted. One that was away for longer begins anew.
	ContactsDeletedKept = 180 * 24 * time.Hour

	// ContactsCached bounds the bytes that a process keeps of contacts which were searched lately, ContactSearchCards how many cards a
	// search looks at.
	ContactsCached = 64 << 20

	// DAVBody bounds the body of a WebDAV request: a multiget of an address book of 20,000 contacts. DAVDepth and DAVElements bound what its
	// XML is made of.
	DAVBody     = 4 << 20
	DAVDepth    = 16
	DAVElements = 60_000

	// DAVSyncPage bounds the objects in an answer to a sync-collection report; the rest follows.
	DAVSyncPage = 5000

	// DAVFilters bounds the filters of an addressbook-query, of all kinds together.
	DAVFilters = 100

	// DirectoryPeople bounds the people in an organisation's address book: more than any phone shows.
	DirectoryPeople = 100_000

	// AppPasswords bounds the app passwords of a user: one for each device. AppPasswordName bounds their names.
	AppPasswords    = 50
	AppPasswordName = 255

	// PhoneProfileLink is for how long a link to a phone's profile is good: until the phone has opened it.
	PhoneProfileLink = 10 * time.Minute
)

// SCIM (clientapi/scim).
const (
	// ScimPage and ScimPageDefault bound the resources of one answer.
	ScimPage        = 1000
	ScimPageDefault = 100

	// ScimBulk bounds the operations of one request, ScimBulkBody its bytes: a thousand people, some of them with a small picture.
	ScimBulk     = 1000
	ScimBulkBody = 32 << 20

	// ScimBulkParallel is how many operations are carried out at a time: enough to share commits.
	ScimBulkParallel = 8

	// ScimFilter bounds a filter or a path, in bytes; ScimFilterDepth its brackets and connectives, each of which is a level of a condition.
	ScimFilter      = 4 << 10
	ScimFilterDepth = 50

	// ScimPatch bounds the operations of a PATCH.
	ScimPatch = 1000

	// ScimValues bounds the values of an attribute, ScimString the bytes of one that is not a picture.
	ScimValues = 100
	ScimString = 4 << 10

	// ScimMembers bounds the people of a group.
	ScimMembers = 100_000
)

// ExportKept is for how long an archive that was asked for can be fetched: long enough to send somebody the link.
const ExportKept = 24 * time.Hour

// Legal holds.
const (
	// Holds bounds those of an organisation, HoldReason what is said of why, in bytes.
	Holds      = 1000
	HoldReason = 500
)
