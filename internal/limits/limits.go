// Package limits is the one table of bounds: every list, string, body and wait that a stranger can make longer has its
// limit here, each with the reason for its size.
//
// A bound that the spec sets is marked with its slug; the others are ours and may change. Constants only, no code, no
// imports but time, so that every package may use it.
package limits

import "time"

// JSON, counted while it is being read (internal/strictjson).
const (
	// JSONDepth bounds nesting. Go cannot recover from a stack overflow, and real events stay below 20.
	JSONDepth = 100

	// JSONKeys bounds the keys of one document, all objects together. A /keys/upload with 5,000 one-time keys needs
	// fewer; more would let 256 KiB of body cost megabytes of memory.
	JSONKeys = 10_000

	// JSONString bounds one string, as it stands in the document. No event may be larger (client-server §size-limits);
	// account data and key backups stay below it as well.
	JSONString = 256 << 10

	// MaxInteger is the largest integer that every JSON reader keeps exactly, 2^53-1 (appendices §canonical-json).
	MaxInteger = 1<<53 - 1
)

// Bodies of requests, in bytes. A route may set its own; what is longer is refused before it is read.
const (
	// DefaultBody is the cap of a route that sets none: a full event with escapes, or a createRoom with initial state.
	DefaultBody = 256 << 10

	// EventBody is the cap of PUT …/send and …/state: 64 KiB of event, written with the most wasteful escapes.
	EventBody = 6 * Event

	// SmallBody is for endpoints that anyone can reach without a token (login, register): names and passwords only.
	SmallBody = 32 << 10

	// LargeBody is for the few endpoints that carry many users' data at once: key uploads, to-device messages.
	LargeBody = 4 << 20

	// BodyRead is how long a client may take to send a body. Long enough for a phone in a tunnel, short enough that
	// idle senders do not pile up.
	BodyRead = 30 * time.Second

	// AnswerWrite is how long a client may take to fetch an answer that does not fit into the socket's buffers.
	AnswerWrite = 2 * time.Minute
)

// Requests.
const (
	// Path bounds the escaped path. The longest real one has four identifiers of 255 bytes, each byte escaped.
	Path = 4 << 10

	// Query bounds the query string: an inline filter (see Filter), escaped, and some tokens.
	Query = 3*Filter + 2<<10

	// AccessToken bounds a token before it is hashed and looked up.
	AccessToken = 1 << 10

	// PathValues bounds the variable segments of a route; the spec's longest route has four.
	PathValues = 6
)

// Identifiers and names, in bytes.
const (
	// Identifier bounds user ids, room ids, event ids and aliases, sigil and domain included
	// (appendices §common-identifier-format).
	Identifier = 255

	// EventType and StateKey are bounded by the spec (client-server §size-limits).
	EventType = 255
	StateKey  = 255

	// TxnID bounds a client's transaction id: it is a column of a unique index.
	TxnID = 255

	// DeviceID bounds a device id that a client chooses.
	DeviceID = 255

	// DeviceName bounds a display name of a device; it is shown in lists.
	DeviceName = 1 << 10

	// DisplayName bounds a profile's display name; it is copied into a member event of each room.
	DisplayName = 1 << 10

	// AvatarURL bounds a profile's avatar; it is copied into a member event of each room.
	AvatarURL = 1 << 10

	// ProfileKey and Profile are set by the spec (client-server §profiles).
	ProfileKey = 255
	Profile    = 64 << 10

	// Password bounds the work of hashing it.
	Password = 1 << 10

	// Reason bounds the reason of a kick, ban, leave or redaction; it becomes part of an event.
	Reason = 8 << 10
)

// Events.
const (
	// Event is the largest complete event, in canonical JSON with signatures (client-server §size-limits).
	Event = 64 << 10

	// AuthEvents and PrevEvents bound what an event may cite (server-server §pdus, room version schemas).
	AuthEvents = 10
	PrevEvents = 20
)

// Answers that list things, in items.
const (
	// TimelineDefault and TimelineMax bound the events of one room in /sync.
	TimelineDefault = 10
	TimelineMax     = 100

	// PageDefault and PageMax bound /messages, /context and other paginated lists.
	PageDefault = 10
	PageMax     = 1000

	// PageBytes bounds the events of one page, give or take the last: a thousand of the largest would be 64 MiB of memory for one
	// request. The client asks on with the token that it gets.
	PageBytes = 4 << 20

	// RelationDepth is how far recurse=true goes (client-server §relationships-api: at least 3).
	RelationDepth = 3

	// RelationsMax bounds a page of /relations, ThreadsMax one of /threads, whose every item comes with two more events.
	RelationsMax = 500
	ThreadsMax   = 100

	// ThreadSubscriptions bounds the threads of which a user ever said something, ThreadSubscriptionsPage those in one answer.
	ThreadSubscriptions     = 100_000
	ThreadSubscriptionsPage = 100

	// QueryText bounds what messages are searched for, in bytes, and QueryTerms its words. SearchWord bounds a word in bytes, SearchWords the
	// words of a message that are found: the places in PostgreSQL's index end at 16,383.
	QueryText   = 1 << 10
	QueryTerms  = 20
	SearchWord  = 64
	SearchWords = 5000

	// SearchPage bounds the results in one answer, SearchContext the events on each side of one, SearchRanked the newest matches
	// among which the best are found, SearchHighlights the words to highlight.
	SearchPage       = 50
	SearchContext    = 25
	SearchRanked     = 1000
	SearchHighlights = 100

	// BundledReferences bounds the references that are told with the event that they refer to; a poll has one for each vote. The
	// newest are told, and /relations has all.
	BundledReferences = 500
)

// Filters and sync.
const (
	// Filter bounds a filter, stored or inline: the events people are interested in, not their address book.
	Filter = 16 << 10

	// FiltersPerUser bounds stored filters; clients store one per kind of screen.
	FiltersPerUser = 1000

	// FilterList bounds each list in a filter.
	FilterList = 500

	// SyncTimeout is the longest long poll. Longer waits are cut by proxies, so a client gains nothing.
	SyncTimeout = 5 * time.Minute
)

// Accounts and sessions.
const (
	// OrganisationName is the name of a customer, in bytes.
	OrganisationName = 255

	// SupportContacts are those that a domain names in /.well-known/matrix/support.
	SupportContacts = 20

	// DevicesPerUser bounds a user's devices; a login beyond it takes the place of the device that was unused for longest.
	DevicesPerUser = 100

	// DeletedDevices bounds the list of one delete_devices request.
	DeletedDevices = 2 * DevicesPerUser

	// PasswordMin is the least that registration.min_password_length may be set to: the spec's figure
	// (client-server §password-management).
	PasswordMin = 8

	// CachedSessions bounds the access tokens that a process remembers.
	CachedSessions = 50_000

	// InteractiveAuth is how long a user may take over user-interactive authentication.
	InteractiveAuth = 15 * time.Minute

	// OpenIDToken is how long a token for another service is good: the spec's example (client-server §openid).
	OpenIDToken = time.Hour

	// LoginToken is how long a token is good that signs another device in: the spec's default (client-server §legacy-login).
	LoginToken = 2 * time.Minute
	// SSOLogin is how long a user may take at an OpenID provider, with its second factors and new passwords.
	SSOLogin = 15 * time.Minute

	// SSOLoginToken is how long the token is good with which a client signs in after that. It has gone through the browser's
	// address bar, and is used at once or never.
	SSOLoginToken = 2 * time.Minute

	// SSORedirectURL bounds the address that a client is to be called back at.
	SSORedirectURL = 2 << 10

	// RegistrationToken bounds a token that lets people register (client-server §token-authenticated-registration).
	RegistrationToken = 64

	// RegistrationNonce is how long a nonce of shared-secret registration is good.
	RegistrationNonce = time.Minute
)

// Rooms.
const (
	// RoomMembers bounds those who are in a room, invited, knocking or banned: every joiner's first answer may list them.
	RoomMembers = 100_000

	// RoomState bounds the state events of a room besides its members', which every client that comes to it gets.
	RoomState = 20_000

	// RoomSizeStep is the part of what a room may still grow by that a process lets it grow before it counts again. So a few processes
	// together exceed a bound by a fraction of what was left at the last count.
	RoomSizeStep = 20

	// AliasesPerRoom bounds what a room's members can fill the alias table with; rooms have one or two.
	AliasesPerRoom = 100

	// FirstInvites bounds the users invited by createRoom. All of it is one transaction; more can be invited afterwards.
	FirstInvites = 200

	// InitialState bounds the state events of createRoom, for the same reason.
	InitialState = 200

	// PageScan is how many events /messages and /context look at for one page when a filter or the history visibility lets few
	// of them through. The client asks on with the token that it gets.
	PageScan = 4 * PageMax
)

// Directories, spaces, reports.
const (
	// DirectoryDefault and DirectoryMax bound a page of the room directory.
	DirectoryDefault = 50
	DirectoryMax     = 200

	// NetworkID bounds the id that an application service has for a network, InstanceID what clients call the network: the application
	// service's id, each byte of which may take three, and the network's. NetworksPerRoom bounds the lists that a room is in; it is
	// bridged to one network, or a few.
	NetworkID       = 255
	InstanceID      = 3*Identifier + 1 + NetworkID
	NetworksPerRoom = 50

	// SearchTerm bounds what is searched for in the directories, and SearchTerms its words: each is a look-up.
	SearchTerm  = 512
	SearchTerms = 8

	// UsersDefault and UsersMax bound the answer of the user directory.
	UsersDefault = 10
	UsersMax     = 50

	// UserWords and PublicRoomWords bound the words that a user or a published room is found by, DirectoryWord the bytes of each:
	// people's names have a few, topics some dozens.
	UserWords       = 32
	PublicRoomWords = 200
	DirectoryWord   = 64

	// AddressesSought bounds the addresses of an address book's entries that one search looks for accounts with.
	AddressesSought = 100

	// LinksPerOrganisation bounds the links of an organisation that hold or are proposed: a search looks at each. LinkMessage bounds what a
	// proposal says.
	LinksPerOrganisation = 200
	LinkMessage          = 1000

	// PersonAddresses bounds a person's e-mail addresses, and phone numbers, that the directories know; PhoneNumber and EmailAddress
	// the bytes of one.
	PersonAddresses = 20
	PhoneNumber     = 64
	EmailAddress    = 500

	// Acquaintances bounds the members of other organisations' rooms that a search for users looks at.
	Acquaintances = 10_000

	// Candidates bounds those of whom a search for users looks whether the one who asks has met them.
	Candidates = 2000

	// MutualRooms bounds a page of the rooms that two users share.
	MutualRooms = 100

	// SpaceRooms and SpaceDepth bound a page of a space and how deep it is walked, SpaceChildren the rooms of one space that are looked
	// at, SpaceLookups the rooms that are looked at for one page and SpaceWalk those of the whole walk. Spaces of people have dozens.
	SpaceRooms    = 50
	SpaceDepth    = 50
	SpaceChildren = 1000
	SpaceLookups  = 500
	SpaceWalk     = 10_000

	// SpaceWalks bounds the walks that are kept for a user, and SpaceWalkKept how long a client may take for the next page.
	SpaceWalks    = 20
	SpaceWalkKept = time.Hour

	// AllowedRooms bounds the rooms of a join rule that are looked at.
	AllowedRooms = 100

	// Vouchers bounds the users whose power is looked at to find one who can let somebody into a restricted room.
	Vouchers = 1000

	// UpgradeBans bounds the bans that are taken into a new room together with its state; further ones follow in batches of this size.
	UpgradeBans = 500

	// CarriedOver bounds the members of a room who get what they had set for another one that comes to be replaced by it.
	CarriedOver = 100

	// UpgradeChildren bounds the children and parents of a space that are taken into its new room.
	UpgradeChildren = 1000

	// AdditionalCreators bounds the creators of a room, who are looked at for every event.
	AdditionalCreators = 100

	// ReportsPerUser bounds the reports that are kept of one reporter.
	ReportsPerUser = 500
)

// Sync.
const (
	// PollsPerDevice bounds the requests that a device lets wait at a time on a process. A client needs one; tabs of a browser that
	// share a login have one each. PollsPerUser bounds those of all devices together.
	PollsPerDevice = 20
	PollsPerUser   = 100

	// TimelineScan bounds the events that are looked at for one timeline, when a filter lets few through.
	TimelineScan = 1000

	// SyncReceipts bounds the receipts of one room in one answer: the newest ones, and the user's own.
	SyncReceipts = 1000

	// SyncPresence bounds the presence events in one answer.
	SyncPresence = 1000

	// SyncToDevice bounds the messages to the device in one answer (client-server §send-to-device-messaging), and
	// SyncToDeviceBytes what they have together: a message of the largest size still fits. The others follow.
	SyncToDevice      = 100
	SyncToDeviceBytes = 512 << 10
)

// Messages to devices.
const (
	// ToDeviceMessage bounds the content of one message: what an event may have.
	ToDeviceMessage = Event

	// ToDeviceRecipients bounds the devices of one request, those found by "*" included. Clients send to 20 to 250 at a time.
	ToDeviceRecipients = 5000

	// ToDeviceBytes bounds what one request stores: "*" multiplies a message by all devices of a user.
	ToDeviceBytes = 16 << 20

	// ToDeviceQueue and ToDeviceQueueBytes bound what waits for one device. When more is sent, the oldest messages go: a device
	// that has been away for so long finds newer keys more useful, and nobody can keep others from reaching a device
	// by filling its queue. A room key is about 2 KiB.
	ToDeviceQueue      = 20_000
	ToDeviceQueueBytes = 64 << 20
)

// Keys of devices and users.
const (
	// DeviceKeys bounds the identity keys of a device, or a cross-signing key, with signatures. Today's have 700 bytes; there is room for
	// keys that withstand quantum computers. /keys/query gives out a whole room's.
	DeviceKeys = 16 << 10

	// OneTimeKey bounds a one-time or fallback key with its signature, for the same reason.
	OneTimeKey = 8 << 10

	// OneTimeKeys bounds the unclaimed keys of a device: clients keep 50 to 100 there. When more come the oldest go, whose
	// private halves the client has most likely dropped.
	OneTimeKeys = 1000

	// FallbackKeys bounds the algorithms that a device has fallback keys for; there is one today.
	FallbackKeys = 10

	// KeyID bounds the halves of "algorithm:id", which are columns of a unique index.
	KeyID = 255

	// ClaimedKeys is for how long a key that was given away is remembered, so that a client which uploads it again, because it did not
	// get the answer, does not put it on offer a second time.
	ClaimedKeys = 7 * 24 * time.Hour
)

// DehydratedDevice bounds what a dehydrated device is made from: its private keys, encrypted, which have 32 bytes each.
const DehydratedDevice = 64 << 10

// Backups of room keys.
const (
	// KeyBackupVersions bounds the versions that a user keeps. Clients delete the old one when they begin another.
	KeyBackupVersions = 20

	// KeyBackupKeys and KeyBackupBytes bound a user's backed-up keys, all versions together. A key is about 700 bytes, and a room
	// of a busy person has a few hundred in a year.
	KeyBackupKeys  = 300_000
	KeyBackupBytes = 512 << 20

	// KeyBackupSessionData bounds one encrypted key, KeyBackupAuthData what a version says of itself: a public key and signatures.
	KeyBackupSessionData = 32 << 10
	KeyBackupAuthData    = 32 << 10

	// KeyBackupSessionID bounds a session id, and KeyAlgorithm the name of an algorithm: they are columns.
	KeyBackupSessionID = 255
	KeyAlgorithm       = 255
)

// Sliding sync.
const (
	// SlidingLists and SlidingSubscriptions bound one request (MSC4186); clients have one list and about twenty rooms at a time.
	SlidingLists         = 100
	SlidingSubscriptions = 100

	// SlidingRanges bounds the ranges of one list: clients have one, or one for each screenful.
	SlidingRanges = 20

	// SlidingRequiredState bounds the elements of one required_state; Element X has twenty.
	SlidingRequiredState = 500

	// SlidingFilterList bounds each list in a list's filters: the spaces or tags that somebody looks at.
	SlidingFilterList = 100

	// SlidingName bounds a connection's id and a list's name: they are sent with every request.
	SlidingName = 255

	// SlidingConnections bounds the connections of a device: a room list, encryption, notifications, and some to spare.
	SlidingConnections = 20

	// SlidingSiblings is how many answers to one position are remembered: a client that gives up a request and asks again
	// gets at most one of them.
	SlidingSiblings = 3

	// SlidingState bounds what is remembered of one connection, in bytes. It is ten for each room, and about as much for
	// the members that were sent; a client beyond it starts afresh.
	SlidingState = 4 << 20

	// SlidingMembers bounds the member events that are remembered as sent, of one room. Beyond it they are sent again.
	SlidingMembers = 100

	// SlidingUnused is for how long a connection is kept that nobody uses. A client that comes back later starts afresh, which
	// costs no more than to catch up.
	SlidingUnused = 30 * 24 * time.Hour

	// SlidingReceipts bounds the receipts of a room that a client has not seen before: its own and the newest ones.
	SlidingReceipts = 50

	// SlidingBumpScan bounds the events that are looked at to find a room's last message.
	SlidingBumpScan = 5000
)

// Account data, tags, receipts, typing, presence.
const (
	// AccountDataValue bounds one value. The largest that clients keep is m.direct, one line for each direct chat.
	AccountDataValue = 256 << 10

	// AccountDataKeys and AccountDataBytes bound what one user keeps, over all rooms: a few keys for each room, and no file store.
	AccountDataKeys  = 50_000
	AccountDataBytes = 16 << 20

	// TagsPerRoom and TagName bound a room's tags (the name: client-server §room-tagging).
	TagsPerRoom = 100
	TagName     = 255

	// TypingDefault and TypingMax are how long a user types without saying so again.
	TypingDefault = 30 * time.Second
	TypingMax     = 2 * time.Minute

	// StatusMessage bounds a presence's status_msg; everybody who shares a room gets it.
	StatusMessage = 1 << 10
)

// Delayed events. How many a user may have, and the longest delay, are in the configuration (delayed_events).
const (
	// DelayedEvents is the largest delayed_events.max_scheduled: all of a user's are listed in one answer.
	DelayedEvents = 1000

	// DelayedFor is the largest delayed_events.max_delay: a year.
	DelayedFor = 366 * 24 * time.Hour

	// DelayedKept and DelayedKeptPerUser bound what is remembered of events that were sent or cancelled; the figures that MSC4140
	// recommends.
	DelayedKept        = 7 * 24 * time.Hour
	DelayedKeptPerUser = 1000
)

// Sticky events.
const (
	// StickyFor is the longest time that an event may be sticky; set by MSC4354.
	StickyFor = time.Hour

	// SyncSticky bounds the sticky events of one room in one answer: the newest ones. A large call has one of each participant's
	// devices; senders are held back by a rate of their own.
	SyncSticky = 2000
)

// Push.
const (
	// PushRules bounds the rules that a user makes: one for each muted room, and some words. All of them are looked at for each
	// event of the user's rooms.
	PushRules = 1000

	// PushRulesBytes bounds the content of m.push_rules, which every first sync carries.
	PushRulesBytes = 512 << 10

	// PushRuleID bounds the id of a rule: a room id or user id at most.
	PushRuleID = 255

	// PushPattern bounds a pattern: words, not texts. A pattern is looked for in every message.
	PushPattern = 512

	// PushConditions bounds the conditions of a rule, and its actions; PushCondition each of them, in bytes.
	PushConditions = 20
	PushCondition  = 2 << 10

	// PushMentions bounds the users that one event can mention: what an event of 64 KiB holds.
	PushMentions = 5000

	// UnreadScan is how many of a room's newest events are looked at for a count. Nobody tells 5,000 unread messages from more.
	UnreadScan = 5000

	// PushersPerUser bounds a user's pushers: some for each device.
	PushersPerUser = 200

	// PushKey and PushAppID are set by the spec (client-server §push-notifications); PushName bounds the names of a pusher.
	PushKey   = 512
	PushAppID = 64
	PushName  = 255

	// PusherData bounds the object that a client wants its gateway to be sent.
	PusherData = 4 << 10

	// PushQueue bounds what waits for one pusher while its gateway is away: the newest notifications.
	PushQueue = 500

	// PushKept is how long a notification is worth sending.
	PushKept = 24 * time.Hour

	// GatewayAnswer bounds the answer of a push gateway: a list of push keys.
	GatewayAnswer = 64 << 10
)

// Application services.
const (
	// RegistrationFile bounds a registration file; real ones have a few lines.
	RegistrationFile = 1 << 20

	// AppserviceAnswer is how long an application service may take to answer a question that somebody waits for.
	AppserviceAnswer = 10 * time.Second

	// AppserviceBody bounds its answer.
	AppserviceBody = 1 << 20

	// AppserviceEvents bounds the events of one transaction, and the messages to devices; AppserviceTransactionBytes is what they may have
	// together, but for the last of them.
	AppserviceEvents           = 200
	AppserviceTransactionBytes = 1 << 20

	// AppserviceTransaction is how long an application service may take over one.
	AppserviceTransaction = time.Minute

	// AppserviceRetry is how long the first pause is after a transaction that was not taken. Each further one is twice as long, up to
	// AppserviceRetryMost.
	AppserviceRetry     = 100 * time.Millisecond
	AppserviceRetryMost = time.Minute

	// AppserviceQueries is how often one is asked whether a user or an alias exists when it gives no answer.
	AppserviceQueries = 3

	// AppserviceRooms is of how many rooms is remembered what an application service has to do with them.
	AppserviceRooms = 20_000

	// DeliveryError bounds what is kept of why a delivery failed.
	DeliveryError = 200

	// AppservicesPerOrganisation bounds those that are registered while the server runs.
	AppservicesPerOrganisation = 50

	// Namespaces bounds the namespaces of a kind in a registration, ViewEntries the patterns, paths and rooms of a view.
	Namespaces  = 100
	ViewEntries = 1000

	// AccessAtOnce bounds the lines that are added to the audit log at a time of what application services did.
	AccessAtOnce = 500

	// ThirdPartyFound bounds the users or rooms that one lookup finds.
	ThirdPartyFound = 1000
)
