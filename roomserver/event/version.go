package event

import (
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
)

// Default is the version of rooms that are made without asking for one.
//
// Spec: rooms §complete-list-of-room-versions
const Default = "12"

// EventFormat says how an event refers to other events.
type EventFormat int

const (
	// EventReferences are pairs of an event ID and a hash; the event carries its own ID (room versions 1 and 2).
	EventReferences EventFormat = iota + 1
	// EventIDs are IDs alone; the ID of an event is its reference hash (room versions from 3 on).
	EventIDs
)

// Version is a room version as data. Two are the same when their IDs are.
type Version struct {
	ID string
	// Library is the same version in gomatrixserverlib.
	Library     gomatrixserverlib.IRoomVersion
	EventFormat EventFormat
	// URLSafeEventIDs: the ID is the hash in URL-safe Base64 (from 4 on).
	URLSafeEventIDs bool
	// StrictJSON: events that are not canonical JSON are refused (from 6 on).
	StrictJSON bool
	// AliasesRule: m.room.aliases has an authorisation rule of its own (up to 5).
	AliasesRule bool
	// NotificationsRule: changes of notifications in power levels are judged (from 6 on).
	NotificationsRule bool
	// KnockAllowed: the join rule "knock" exists (from 7 on).
	KnockAllowed bool
	// RestrictedAllowed: the join rule "restricted" exists (from 8 on).
	RestrictedAllowed bool
	// KnockRestrictedAllowed: the join rule "knock_restricted" exists (from 10 on).
	KnockRestrictedAllowed bool
	// IntegerPowerLevels: a level that is a string is refused (from 10 on).
	IntegerPowerLevels bool
	// CreatorInContent: m.room.create names the creator in its content (up to 10).
	CreatorInContent bool
	// RedactsInContent: m.room.redaction names the redacted event in its content (from 11 on).
	RedactsInContent bool
	// PrivilegedCreators: creators stand above all power levels (from 12 on).
	PrivilegedCreators bool
	// DomainlessRoomIDs: the room ID is the hash of the create event, which therefore has no room_id and is not among
	// auth_events (from 12 on).
	DomainlessRoomIDs bool

	redaction *redaction
}

// versions in ascending order.
var versions = makeVersions()

func makeVersions() []Version {
	v1 := Version{EventFormat: EventReferences, AliasesRule: true, CreatorInContent: true, redaction: &redactionV1}
	v2 := v1
	v3 := v2
	v3.EventFormat = EventIDs
	v4 := v3
	v4.URLSafeEventIDs = true
	v5 := v4
	v6 := v5
	v6.StrictJSON, v6.AliasesRule, v6.NotificationsRule, v6.redaction = true, false, true, &redactionV6
	v7 := v6
	v7.KnockAllowed = true
	v8 := v7
	v8.RestrictedAllowed, v8.redaction = true, &redactionV8
	v9 := v8
	v9.redaction = &redactionV9
	v10 := v9
	v10.KnockRestrictedAllowed, v10.IntegerPowerLevels = true, true
	v11 := v10
	v11.CreatorInContent, v11.RedactsInContent, v11.redaction = false, true, &redactionV11
	v12 := v11
	v12.PrivilegedCreators, v12.DomainlessRoomIDs = true, true

	all := []Version{v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12}
	ids := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}
	for i := range all {
		all[i].ID = ids[i]
		all[i].Library = gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(ids[i]))
	}
	return all
}

// Lookup finds the version with this ID. Unstable versions are not known.
func Lookup(id string) (Version, bool) {
	for i := range versions {
		if versions[i].ID == id {
			return versions[i], true
		}
	}
	return Version{}, false
}

// All gives every known version in ascending order. All of them are stable.
//
// Spec: rooms §complete-list-of-room-versions
func All() []Version { return slices.Clone(versions) }
