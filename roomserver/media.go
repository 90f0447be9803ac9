package roomserver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Media hangs on events and on profiles (MSC3911). Whoever may see one of these may see the media, and nobody else; when the last one goes
// the media goes too. An event is linked, in the transaction that stores it, to what its content names by mxc:// URIs and to what the
// client says is attached to it. Naming media of others gives no right to it: see media_link in schema.sql.
//
// Encrypted events name their media where we can't see it, and clients of today do not attach it. So media that may be an encrypted file is
// presumed to be named by what its device sends encrypted soon after (mediaapi's follower), and until somebody says better it is shown
// to everybody who knows its URI and who belongs to the uploader's organisation or shares a room with the uploader. Nobody else can do
// anything with it: the key is in the event.

// opaqueType is the content type of what clients have encrypted.
const opaqueType = "application/octet-stream"

// Kinds of media; see the schema.
const (
	MediaFile      = "file"
	MediaImage     = "image"
	MediaVideo     = "video"
	MediaAudio     = "audio"
	MediaVoice     = "voice"
	MediaSticker   = "sticker"
	MediaEncrypted = "encrypted"
	MediaAvatar    = "avatar"
	MediaPreview   = "preview"
	MediaOther     = "other"
)

// mediaOf is the media that an event names or has attached.
func mediaOf(d *draft) []matrix.ContentURI {
	media := d.Attached
	for _, uri := range matrix.FindContentURIs(d.Content, limits.MediaPerEvent-len(media)) {
		if !slices.Contains(media, uri) {
			media = append(media[:len(media):len(media)], uri)
		}
	}
	return media
}

// mediaKind is what an event says its media is.
func mediaKind(eventType string, content []byte) string {
	switch eventType {
	case spec.MRoomAvatar, spec.MRoomMember:
		return MediaAvatar
	case "m.sticker":
		return MediaSticker
	case "m.room.encrypted":
		return MediaEncrypted
	case "m.room.message":
		return messageKind(content)
	}
	return MediaOther
}

// messageKind is the kind of media that a message is about, MediaOther for text.
func messageKind(content []byte) string {
	switch gjson.GetBytes(content, "msgtype").String() {
	case "m.file":
		return MediaFile
	case "m.image":
		return MediaImage
	case "m.video":
		return MediaVideo
	case "m.audio":
		// Spec: MSC3245, as clients send it; there is no stable name.
		if gjson.GetBytes(content, `org\.matrix\.msc3245\.voice`).Exists() || gjson.GetBytes(content, `org\.matrix\.msc3245\.voice\.v2`).Exists() {
			return MediaVoice
		}
		return MediaAudio
	}
	return MediaOther
}

// MaySeeMedia reports whether somebody may see media: its uploader, whoever may see an event or a profile that it hangs on, and for room
// avatars those who may find the room.
func (s *Server) MaySeeMedia(ctx context.Context, who Viewer, m *store.Media) (bool, error) {
	switch {
	case m.QuarantinedBy != "":
		return false, nil
	case m.Kind == MediaPreview:
		return m.OrganisationID == who.OrganisationID, nil
	case m.UserID == who.User && m.ExpiresTS != 0:
		return true, nil
	}
	links, err := s.cfg.Store.ListMediaLinks(ctx, m.URI, who.User, limits.MediaLinks)
	if err != nil {
		return false, fmt.Errorf("list what %s hangs on: %w", m.URI, err)
	}
	switch {
	case len(links) == 0 && m.ExpiresTS == 0:
		// The last link is gone, and the sweeper is on its way.
		return false, nil
	case m.UserID == who.User:
		return true, nil
	}
	certain := false
	for i := range links {
		if visible, err := s.maySeeLink(ctx, who, m, &links[i]); err != nil || visible {
			return visible, err
		}
		certain = certain || !links[i].Presumed
	}
	if certain || m.Restricted || m.ContentType != opaqueType {
		return false, nil
	}
	return s.knows(ctx, who, m.OrganisationID, m.UserID)
}

func (s *Server) maySeeLink(ctx context.Context, who Viewer, m *store.Media, l *store.MediaLink) (bool, error) {
	if l.UserID != "" {
		return s.seesProfile(ctx, who, m.OrganisationID, l.UserID)
	}
	if l.RoomNID == 0 {
		// The logo of the organisation.
		return m.OrganisationID == who.OrganisationID, nil
	}
	sight, err := s.Visibility(ctx, l.RoomNID, who.User)
	if err != nil {
		return false, fmt.Errorf("find what %s may see: %w", who.User, err)
	}
	if sight.CanSee(l.Position) {
		return true, nil
	}
	switch {
	case l.Current && l.EventType == spec.MRoomMember:
		// Whoever is invited is shown who is there.
		return sight.MembershipAt(store.CurrentState) == spec.Invite, nil
	case l.Current && l.EventType == spec.MRoomAvatar:
		return s.mayFind(ctx, who, l.RoomNID)
	}
	return false, nil
}

// mayFind reports whether somebody may know what a room's summary says.
func (s *Server) mayFind(ctx context.Context, who Viewer, nid int64) (bool, error) {
	rooms, err := s.RoomsByNID(ctx, []int64{nid})
	if err != nil {
		return false, err
	}
	summaries, err := s.Summaries(ctx, rooms)
	if err != nil {
		return false, err
	}
	sights, err := s.Sights(ctx, who, summaries)
	return sights[nid].Accessible || sights[nid].Membership == spec.Knock, err
}

// knows reports whether somebody may see a user's profile: those of the same organisation may, and those who share a room or were invited
// by the user.
func (s *Server) knows(ctx context.Context, who Viewer, org int64, user matrix.UserID) (bool, error) {
	if org == who.OrganisationID {
		return true, nil
	}
	knows, err := s.cfg.Store.MayKnow(ctx, who.User, user)
	if err != nil {
		return false, fmt.Errorf("find what %s and %s share: %w", who.User, user, err)
	}
	return knows, nil
}

// seesProfile reports whether somebody may see what hangs on a user's profile: who knows the user may, and people of organisations that are given
// pictures.
func (s *Server) seesProfile(ctx context.Context, who Viewer, org int64, user matrix.UserID) (bool, error) {
	if knows, err := s.knows(ctx, who, org, user); err != nil || knows {
		return knows, err
	}
	sees, err := s.cfg.Store.SeesAvatar(ctx, who.User, user)
	if err != nil {
		return false, fmt.Errorf("find whether %s sees pictures of %s: %w", who.User, user, err)
	}
	return sees, nil
}

// CheckAttached refuses media that can't be attached to an event of this sender: it has to be the sender's own, uploaded to be attached, and
// hang on nothing.
//
// Spec: MSC3911 §detailed-spec-changes, attaching media
func (s *Server) CheckAttached(ctx context.Context, sender matrix.UserID, uris []matrix.ContentURI) error {
	for _, uri := range uris {
		m, err := s.cfg.Store.GetMedia(ctx, uri)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("look up %s: %w", uri, err)
		}
		if err != nil || m.UserID != sender || !m.Restricted {
			return matrix.InvalidParam("attach_media: %s is no media that you may attach", uri)
		}
		links, err := s.cfg.Store.ListMediaLinks(ctx, uri, sender, 1)
		if err != nil {
			return fmt.Errorf("list what %s hangs on: %w", uri, err)
		}
		if len(links) > 0 {
			return matrix.InvalidParam("attach_media: %s is attached already; make a copy", uri)
		}
	}
	return nil
}
