package clientapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/roomline/roomline/clientapi/guests"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
)

// Profile fields with a meaning of their own.
const (
	fieldDisplayname = "displayname"
	fieldAvatarURL   = "avatar_url"
	fieldTimeZone    = "m.tz"
)

// getProfile returns a user's whole profile.
//
// Spec: client-server v1.19 §profiles, GET /_matrix/client/v3/profile/{userId}
func (s *Server) getProfile(ctx context.Context, c *httpapi.Call) (any, error) {
	sight, err := s.visibleUser(ctx, c)
	if err != nil {
		return nil, err
	}
	fields, err := s.store.ListProfileFields(ctx, sight.UserID)
	if err != nil {
		return nil, fmt.Errorf("list the profile of %s: %w", sight.UserID, err)
	}
	profile := make(map[string]json.RawMessage, len(fields))
	for _, f := range fields {
		if showsField(sight, f.Key) {
			profile[f.Key] = f.Value
		}
	}
	return profile, nil
}

// getProfileField returns one field of a user's profile.
//
// Spec: client-server v1.19 §profiles, GET /_matrix/client/v3/profile/{userId}/{keyName}
func (s *Server) getProfileField(ctx context.Context, c *httpapi.Call) (any, error) {
	key, err := profileKey(c)
	if err != nil {
		return nil, err
	}
	sight, err := s.visibleUser(ctx, c)
	if err != nil {
		return nil, err
	}
	if !showsField(sight, key) {
		return nil, matrix.NotFound("the profile has no field %s", key)
	}
	value, err := s.store.GetProfileField(ctx, sight.UserID, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("the profile has no field %s", key)
	}
	if err != nil {
		return nil, fmt.Errorf("get a profile field of %s: %w", sight.UserID, err)
	}
	return map[string]json.RawMessage{key: value}, nil
}

// visibleUser returns what the requester may see of the user of the path: members of the same organisation see the profile; those of linked ones, and
// those who share a room, see name and picture as far as they are given. Everybody else is told that there is no such user, whether there is or
// not.
//
// Differs: without an access token profiles are refused unless the configuration makes them public, because this is the way in which
// strangers find out who has an account.
func (s *Server) visibleUser(ctx context.Context, c *httpapi.Call) (store.PersonSight, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return store.PersonSight{}, err
	}
	if c.Requester == nil {
		return s.publicUser(ctx, id)
	}
	if err := s.askForUsers(ctx, c.Requester, id); err != nil {
		return store.PersonSight{}, err
	}
	sight, known, err := s.store.GetPersonSight(ctx, onlooker(c.Requester), id)
	if err != nil {
		return sight, fmt.Errorf("look up %s: %w", id, err)
	}
	if !known || !sight.Name && !sight.Avatar {
		return sight, noSuchProfile()
	}
	return sight, nil
}

func noSuchProfile() *matrix.Error { return matrix.NotFound("there is no profile of this user") }

// publicUser is visibleUser for somebody without an account.
func (s *Server) publicUser(ctx context.Context, id matrix.UserID) (store.PersonSight, error) {
	if !s.cfg.PublicProfiles {
		return store.PersonSight{}, matrix.Forbidden("sign in to look up profiles")
	}
	user, err := s.store.GetUser(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.PersonSight{}, fmt.Errorf("look up %s: %w", id, err)
	}
	if err != nil || user.Deactivated() {
		return store.PersonSight{}, noSuchProfile()
	}
	return store.PersonSight{UserID: id, OrganisationID: user.OrganisationID, Own: true}, nil
}

// showsField reports whether a field of a profile may be seen. Fields of a client's own invention stay in the organisation.
func showsField(sight store.PersonSight, key string) bool {
	return sight.Own || key == fieldDisplayname && sight.Name || key == fieldAvatarURL && sight.Avatar
}

type profileFieldRequest map[string]json.RawMessage

// putProfileField sets a field of the requester's profile. A new display name or avatar also goes into the member events of the
// rooms the user has joined, unless the query says propagate_to=none.
//
// Spec: client-server v1.19 §profiles, PUT /_matrix/client/v3/profile/{userId}/{keyName}
func (s *Server) putProfileField(ctx context.Context, c *httpapi.Call, req *profileFieldRequest) (any, error) {
	change, err := s.profileChange(c)
	if err != nil {
		return nil, err
	}
	raw, ok := (*req)[change.key]
	if !ok {
		return nil, matrix.MissingParam("%s is missing in the body", change.key)
	}
	if change.value, err = profileValue(change.key, raw); err != nil {
		return nil, err
	}
	if c.Requester.Guest {
		if change.value, err = guestName(change.value); err != nil {
			return nil, err
		}
	}
	return nil, s.changeProfile(ctx, c.Requester.User, change)
}

// deleteProfileField removes a field of the requester's profile.
//
// Spec: client-server v1.19 §profiles, DELETE /_matrix/client/v3/profile/{userId}/{keyName}
func (s *Server) deleteProfileField(ctx context.Context, c *httpapi.Call) (any, error) {
	change, err := s.profileChange(c)
	if err != nil {
		return nil, err
	}
	return nil, s.changeProfile(ctx, c.Requester.User, change)
}

// profileChange is a field with its new value, nil to remove it.
type profileChange struct {
	key       string
	value     []byte
	propagate bool
}

// profileChange checks whether the requester may change the field of the path.
func (s *Server) profileChange(c *httpapi.Call) (profileChange, error) {
	user, err := c.UserID("userId")
	if err != nil {
		return profileChange{}, err
	}
	key, err := profileKey(c)
	if err != nil {
		return profileChange{}, err
	}
	if user != c.Requester.User {
		return profileChange{}, matrix.Forbidden("only the user's own profile can be changed")
	}
	// Spec: client-server v1.19 §guest-access
	if c.Requester.Guest && key != fieldDisplayname {
		return profileChange{}, matrix.NewError(http.StatusForbidden, matrix.ErrGuestAccessForbidden, "guests may change their displayname only")
	}
	if key == roomserver.GuestKey {
		return profileChange{}, matrix.Forbidden("who is a guest is said by the server")
	}
	change := profileChange{key: key}
	switch c.Query("propagate_to") {
	case "", "all":
		change.propagate = key == fieldDisplayname || key == fieldAvatarURL
	case "none":
	default:
		return profileChange{}, matrix.InvalidParam("propagate_to must be all or none")
	}
	return change, nil
}

// guestName marks the name that a guest gives themselves. A guest has one.
func guestName(value []byte) ([]byte, error) {
	var chosen string
	if value != nil {
		if err := json.Unmarshal(value, &chosen); err != nil {
			return nil, fmt.Errorf("read a name: %w", err)
		}
	}
	name, err := guests.DisplayName(chosen)
	if err != nil {
		return nil, err
	}
	return json.Marshal(name)
}

func (s *Server) changeProfile(ctx context.Context, user matrix.UserID, change profileChange) error {
	err := s.journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		// The lock keeps parallel changes from passing the bound together.
		if _, err := tx.LockUser(ctx, user); err != nil {
			return nil, err
		}
		if err := s.linkProfileMedia(ctx, tx, user, change); err != nil {
			return nil, err
		}
		update := store.Update{Kind: store.KindProfile, UserID: user, Key: updateKey(change.key), Body: []byte("{}")}
		if change.value == nil {
			removed, err := tx.DeleteProfileField(ctx, user, change.key)
			if err != nil || !removed {
				return nil, err
			}
			return []store.Update{update}, nil
		}
		if err := checkProfileSize(ctx, tx, user, change); err != nil {
			return nil, err
		}
		return []store.Update{update}, tx.PutProfileField(ctx, store.ProfileField{UserID: user, Key: change.key, Value: change.value})
	})
	if err != nil {
		return fmt.Errorf("change the profile of %s: %w", user, err)
	}
	if !change.propagate {
		return nil
	}
	if err := s.cfg.PropagateProfile(ctx, user); err != nil {
		return fmt.Errorf("tell the rooms of %s of the new profile: %w", user, err)
	}
	return nil
}

// linkProfileMedia makes what a field names hang on the profile, in place of what it named before.
//
// Spec: MSC3911 §detailed-spec-changes
func (s *Server) linkProfileMedia(ctx context.Context, tx *store.Tx, user matrix.UserID, change profileChange) error {
	fields, err := tx.ListProfileFields(ctx, user)
	if err != nil {
		return err
	}
	now := matrix.FindContentURIs(change.value, limits.MediaPerEvent)
	var before []matrix.ContentURI
	for _, f := range fields {
		named := matrix.FindContentURIs(f.Value, limits.MediaPerEvent)
		if f.Key == change.key {
			before = append(before, named...)
		} else {
			// What another field still names stays.
			now = append(now, named...)
		}
	}
	if len(before)+len(now) == 0 {
		return nil
	}
	return tx.PutProfileMedia(ctx, user, before, now, s.now())
}

// updateKey is the field that an update names. Fields of a client's own invention share one key, because the latest update of each key
// is kept for ever.
func updateKey(field string) string {
	switch field {
	case fieldDisplayname, fieldAvatarURL, fieldTimeZone:
		return field
	}
	return ""
}

// checkProfileSize refuses a change that would make the profile larger than the spec allows, counted as the JSON of GET profile.
func checkProfileSize(ctx context.Context, tx *store.Tx, user matrix.UserID, change profileChange) error {
	fields, err := tx.ListProfileFields(ctx, user)
	if err != nil {
		return err
	}
	// A field is "key":value and a comma; the object has two braces and one comma less.
	size := 1 + len(change.key) + len(change.value) + 4
	for _, f := range fields {
		if f.Key != change.key {
			size += len(f.Key) + len(f.Value) + 4
		}
	}
	if size >= limits.Profile {
		return matrix.NewError(http.StatusBadRequest, matrix.ErrProfileTooLarge, "the profile would have %d bytes, less than %d are allowed", size, limits.Profile)
	}
	return nil
}

// profileKey returns the field's name from the path.
//
// Spec: appendices v1.19 §common-namespaced-identifier-grammar
func profileKey(c *httpapi.Call) (string, error) {
	key := c.Path("keyName")
	if len(key) > limits.ProfileKey {
		return "", matrix.NewError(http.StatusBadRequest, matrix.ErrKeyTooLarge, "keyName must have at most %d bytes", limits.ProfileKey)
	}
	if key == fieldDisplayname || key == fieldAvatarURL {
		return key, nil
	}
	if key == "" || key[0] < 'a' || key[0] > 'z' || !strings.Contains(key, ".") || strings.HasSuffix(key, ".") || strings.Contains(key, "..") {
		return "", matrix.InvalidParam("keyName must be displayname, avatar_url or a namespaced name such as com.example.field")
	}
	for i := range len(key) {
		if ch := key[i]; !('a' <= ch && ch <= 'z' || '0' <= ch && ch <= '9' || ch == '-' || ch == '_' || ch == '.') {
			return "", matrix.InvalidParam("keyName may contain only a-z, 0-9, -, _ and .")
		}
	}
	return key, nil
}

// profileValue checks a new value; nil means that the field is to be removed. Fields that we know are strings, and clients clear them
// with an empty one; of all others any JSON is right.
func profileValue(key string, raw json.RawMessage) ([]byte, error) {
	longest := 0
	switch key {
	case fieldDisplayname:
		longest = limits.DisplayName
	case fieldAvatarURL:
		longest = limits.AvatarURL
	case fieldTimeZone:
		longest = limits.ProfileKey
	default:
		return compact(raw)
	}
	var text *string
	if err := strictjson.Decode(raw, &text); err != nil || text == nil {
		return nil, matrix.BadJSON("%s must be a string", key)
	}
	switch {
	case *text == "":
		return nil, nil
	case len(*text) > longest:
		return nil, matrix.InvalidParam("%s must have at most %d bytes", key, longest)
	}
	if key == fieldAvatarURL {
		if _, err := matrix.ParseContentURI(*text); err != nil {
			return nil, matrix.InvalidParam("avatar_url must be an mxc:// URI")
		}
	}
	return compact(raw)
}

func compact(raw json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, matrix.NotJSON("the value is not JSON")
	}
	return b.Bytes(), nil
}
