package moderation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"golang.org/x/sync/errgroup"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// away says that the SFU does not answer: of what was asked for nothing holds.
func away(err error) error {
	if !errors.Is(err, sfu.ErrUnavailable) {
		return err
	}
	return meetings.Unavailable()
}

func notThere(user matrix.UserID) *matrix.Error {
	return matrix.NotFound("%s is not in the meeting", user).With("org.roomline.reason", "not_there")
}

// there are those who are in the calls of a room at this moment: the SFU is asked.
func (s *Server) there(ctx context.Context, h *hall) ([]store.RTCParticipant, error) {
	if s.cfg.SFU == nil {
		return nil, matrix.Unrecognized()
	}
	places, err := s.cfg.Store.ListRTCPlaces(ctx, h.NID)
	if err != nil {
		return nil, fmt.Errorf("list who may be in a call: %w", err)
	}
	type key struct{ alias, identity string }
	in := make(map[key]bool)
	asked := make(map[string]bool)
	for _, p := range places {
		if asked[p.Alias] {
			continue
		}
		asked[p.Alias] = true
		list, err := s.cfg.SFU.Participants(ctx, p.Alias)
		if err != nil {
			return nil, away(err)
		}
		for _, one := range list {
			in[key{p.Alias, one.Identity}] = true
		}
	}
	return slices.DeleteFunc(places, func(p store.RTCParticipant) bool { return !in[key{p.Alias, p.Identity}] }), nil
}

// places are where somebody is in the calls of a room: with one device if it is named.
func (s *Server) places(ctx context.Context, h *hall, user matrix.UserID, device string) ([]store.RTCParticipant, error) {
	if err := h.over(user); err != nil {
		return nil, err
	}
	all, err := s.there(ctx, h)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p store.RTCParticipant) bool {
		return p.UserID != user || device != "" && string(p.DeviceID) != device
	})
	if len(all) == 0 {
		return nil, notThere(user)
	}
	return all, nil
}

// heard is muted, and seen is stopped: who is muted can speak again when it suits them, but what is shown is taken away.
var (
	heard = map[sfu.Source]bool{sfu.Microphone: true, sfu.ScreenShareAudio: true}
	seen  = map[sfu.Source][]sfu.Source{sfu.Camera: {sfu.Camera}, sfu.ScreenShare: {sfu.ScreenShare, sfu.ScreenShareAudio}}
)

type muteRequest struct {
	UserID   string     `json:"user_id"`
	DeviceID string     `json:"device_id"`
	Source   sfu.Source `json:"source"`
}

// postMute mutes what somebody lets hear: the microphone if nothing else is said.
func (s *Server) postMute(ctx context.Context, c *httpapi.Call, req *muteRequest) (any, error) {
	h, err := s.lead(ctx, c)
	if err != nil {
		return nil, err
	}
	user, err := userOf(req.UserID)
	if err != nil {
		return nil, err
	}
	if req.Source == "" {
		req.Source = sfu.Microphone
	}
	if !heard[req.Source] {
		return nil, matrix.InvalidParam("source must be %s or %s", sfu.Microphone, sfu.ScreenShareAudio)
	}
	places, err := s.places(ctx, h, user, req.DeviceID)
	if err != nil {
		return nil, err
	}
	return nil, s.mute(ctx, places, req.Source)
}

// mute mutes some at once.
func (s *Server) mute(ctx context.Context, places []store.RTCParticipant, source sfu.Source) error {
	var g errgroup.Group
	g.SetLimit(limits.LobbyParallel)
	for _, p := range places {
		g.Go(func() error { return away(s.cfg.SFU.Mute(ctx, p.Alias, p.Identity, source, true)) })
	}
	return g.Wait()
}

// postMuteAll mutes everybody whom the moderator may mute.
func (s *Server) postMuteAll(ctx context.Context, c *httpapi.Call, req *muteRequest) (any, error) {
	h, err := s.lead(ctx, c)
	if err != nil {
		return nil, err
	}
	if req.Source == "" {
		req.Source = sfu.Microphone
	}
	if !heard[req.Source] {
		return nil, matrix.InvalidParam("source must be %s or %s", sfu.Microphone, sfu.ScreenShareAudio)
	}
	all, err := s.there(ctx, h)
	if err != nil {
		return nil, err
	}
	return nil, s.mute(ctx, slices.DeleteFunc(all, func(p store.RTCParticipant) bool { return p.UserID == h.user || h.over(p.UserID) != nil }), req.Source)
}

// postStop takes away what somebody shows. They may show it again.
func (s *Server) postStop(ctx context.Context, c *httpapi.Call, req *muteRequest) (any, error) {
	h, err := s.lead(ctx, c)
	if err != nil {
		return nil, err
	}
	user, err := userOf(req.UserID)
	if err != nil {
		return nil, err
	}
	gone := seen[req.Source]
	if gone == nil {
		return nil, matrix.InvalidParam("source must be %s or %s", sfu.Camera, sfu.ScreenShare)
	}
	places, err := s.places(ctx, h, user, req.DeviceID)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		if err := s.stop(ctx, h, p, gone); err != nil {
			return nil, away(err)
		}
	}
	return nil, nil
}

// stop takes the right to send something, with which the SFU takes away what is sent, and gives the right back. If that fails, whoever looks after
// calls does it.
func (s *Server) stop(ctx context.Context, h *hall, p store.RTCParticipant, gone []sfu.Source) error {
	rights, err := s.cfg.Calls.Entitled(ctx, h.ID, p.UserID, string(p.DeviceID))
	if _, refused := matrix.AsError(err); refused {
		return nil // whoever looks after calls puts out who may not be there
	}
	if err != nil {
		return err
	}
	without := rights
	without.Publish = slices.DeleteFunc(slices.Clone(rights.Publish), func(s sfu.Source) bool { return slices.Contains(gone, s) })
	if len(without.Publish) == len(rights.Publish) {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err = s.cfg.SFU.Update(ctx, p.Alias, p.Identity, without)
	if err == nil {
		err = s.cfg.SFU.Update(ctx, p.Alias, p.Identity, rights)
	}
	if err != nil {
		if err := s.cfg.CheckUser(ctx, p.UserID); err != nil {
			s.cfg.Log.Warn("have the rights of somebody in a call looked at", "room", h.ID, "user", p.UserID, "err", err)
		}
	}
	return err
}

type publishRequest struct {
	Source sfu.Source `json:"source"`
	Role   string     `json:"role"`
}

// postPublish says who may send something: those with a role, and those above them.
func (s *Server) postPublish(ctx context.Context, c *httpapi.Call, req *publishRequest) (any, error) {
	h, err := s.lead(ctx, c)
	if err != nil {
		return nil, err
	}
	level, ok := levelOf[req.Role]
	if !ok {
		return nil, matrix.InvalidParam("role must be %s, %s, %s or %s", Attendee, Presenter, Moderator, Organiser)
	}
	if req.Source != sfu.Microphone && req.Source != sfu.Camera && req.Source != sfu.ScreenShare {
		return nil, matrix.InvalidParam("source must be %s, %s or %s", sfu.Microphone, sfu.Camera, sfu.ScreenShare)
	}
	if level > h.level {
		return nil, matrix.Forbidden("you have less power than a %s", req.Role)
	}
	return nil, s.change(ctx, h, func(content map[string]any) error {
		publish, _ := content["publish"].(map[string]any)
		if publish == nil {
			publish = map[string]any{}
		}
		publish[string(req.Source)] = level
		content["publish"] = publish
		return nil
	})
}

func (s *Server) postLock(ctx context.Context, c *httpapi.Call, _ *struct{}) (any, error) {
	return nil, s.setLocked(ctx, c, true)
}

func (s *Server) postUnlock(ctx context.Context, c *httpapi.Call, _ *struct{}) (any, error) {
	return nil, s.setLocked(ctx, c, false)
}

// setLocked lets nobody in any more but moderators and those who are there, or everybody again.
func (s *Server) setLocked(ctx context.Context, c *httpapi.Call, locked bool) error {
	h, err := s.lead(ctx, c)
	if err != nil {
		return err
	}
	return s.change(ctx, h, func(content map[string]any) error {
		if present, _ := content["locked"].(bool); present != locked {
			content["locked"] = locked
		}
		return nil
	})
}

type userRequest struct {
	UserID string `json:"user_id"`
}

// hand is the key of the reaction by which clients raise a hand, without what says how it is drawn.
const hand = "\U0001F590"

// postLowerHand takes a hand down. One that is down stays so.
func (s *Server) postLowerHand(ctx context.Context, c *httpapi.Call, req *userRequest) (any, error) {
	h, err := s.lead(ctx, c)
	if err != nil {
		return nil, err
	}
	user, err := userOf(req.UserID)
	if err != nil {
		return nil, err
	}
	if err := h.over(user); err != nil {
		return nil, err
	}
	hands, err := s.cfg.Store.ListRaisedHands(ctx, h.NID, user, hand, s.now())
	if err != nil {
		return nil, fmt.Errorf("look for a raised hand: %w", err)
	}
	for _, id := range hands {
		content, err := json.Marshal(map[string]any{"redacts": id})
		if err != nil {
			return nil, err
		}
		_, err = s.cfg.Rooms.Send(ctx, roomserver.NewEvent{Room: h.ID, Sender: h.user, Type: spec.MRoomRedaction, Content: content, Redacts: id})
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}
