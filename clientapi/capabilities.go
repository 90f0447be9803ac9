package clientapi

import (
	"context"

	"github.com/roomline/roomline/clientapi/delayed"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/roomserver"
)

type capabilitiesResponse struct {
	Capabilities capabilities `json:"capabilities"`
}

type capabilities struct {
	ChangePassword        capability              `json:"m.change_password"`
	RoomVersions          roomVersionsCapability  `json:"m.room_versions"`
	SetDisplayname        capability              `json:"m.set_displayname"`
	SetAvatarURL          capability              `json:"m.set_avatar_url"`
	ProfileFields         profileFieldsCapability `json:"m.profile_fields"`
	ThreePIDChanges       capability              `json:"m.3pid_changes"`
	GetLoginToken         capability              `json:"m.get_login_token"`
	ForgetForcedUponLeave capability              `json:"m.forget_forced_upon_leave"`
	DelayedEvents         delayed.Capability      `json:"org.matrix.msc4140.delayed_events"`
	// Spec: MSC4452
	PreviewURL capability `json:"io.element.msc4452.preview_url"`
	// Deletion is who may delete what where a room does not say otherwise, so that clients offer only what is let through.
	Deletion          roomserver.DeletionPolicy `json:"org.roomline.deletion"`
	AccountModeration *moderationCapability     `json:"m.account_moderation,omitempty"`
}

type capability struct {
	Enabled bool `json:"enabled"`
}

// moderationCapability is there for administrators only.
type moderationCapability struct {
	Suspend bool `json:"suspend"`
	Lock    bool `json:"lock"`
}

type roomVersionsCapability struct {
	Default   string            `json:"default"`
	Available map[string]string `json:"available"`
}

type profileFieldsCapability struct {
	Enabled bool     `json:"enabled"`
	Allowed []string `json:"allowed,omitempty"`
}

// Spec: room versions v1.19 §complete-list-of-room-versions
var roomVersions = map[string]string{
	"1": "stable", "2": "stable", "3": "stable", "4": "stable", "5": "stable", "6": "stable",
	"7": "stable", "8": "stable", "9": "stable", "10": "stable", "11": "stable", "12": "stable",
}

// getCapabilities says what the user can do here.
//
// Spec: client-server v1.19 §capabilities-negotiation, GET /_matrix/client/v3/capabilities
func (s *Server) getCapabilities(ctx context.Context, c *httpapi.Call) (any, error) {
	member := capability{Enabled: !c.Requester.Guest}
	answer := capabilities{
		ChangePassword: member,
		RoomVersions:   roomVersionsCapability{Default: s.cfg.DefaultRoomVersion, Available: roomVersions},
		SetDisplayname: capability{Enabled: true},
		SetAvatarURL:   member,
		ProfileFields:  profileFieldsCapability{Enabled: true},
		GetLoginToken:  member,
		DelayedEvents:  s.delayed.Capability(),
	}
	var err error
	if answer.Deletion, err = s.rooms.DeletionPolicyOf(ctx, c.Requester.Org); err != nil {
		return nil, err
	}
	changes, err := s.changesThreePIDs(ctx, c.Requester)
	if err != nil {
		return nil, err
	}
	answer.ThreePIDChanges.Enabled = changes && s.verifier.Enabled()
	if s.cfg.MayPreview != nil {
		enabled, err := s.cfg.MayPreview(ctx, c.Requester.Org)
		if err != nil {
			return nil, err
		}
		answer.PreviewURL.Enabled = enabled
	}
	if c.Requester.Guest {
		answer.ProfileFields.Allowed = []string{fieldDisplayname}
	}
	if c.Requester.Admin {
		answer.AccountModeration = &moderationCapability{Suspend: true, Lock: true}
	}
	return capabilitiesResponse{answer}, nil
}
