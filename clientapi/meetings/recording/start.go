package recording

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
)

// errNoRecorder is the code of an error that says that nothing records here.
const errNoRecorder matrix.ErrCode = "ORG.ROOMLINE.NO_RECORDER"

func noRecorder() *matrix.Error {
	return matrix.NewError(http.StatusNotImplemented, errNoRecorder, "no recorder is deployed")
}

// actor is who does something to a recording.
type actor struct {
	user     matrix.UserID
	name, ip string
	level    int64
}

// enter is the room of a request whose requester is in it.
func (s *Server) enter(ctx context.Context, c *httpapi.Call) (room roomserver.Info, a actor, err error) {
	notThere := matrix.Forbidden("you are not in this room")
	if s.cfg.SFU == nil {
		return room, a, matrix.Unrecognized()
	}
	id, err := c.RoomID("roomId")
	if err != nil {
		return room, a, err
	}
	room, err = s.cfg.Rooms.Room(ctx, id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return room, a, notThere
	}
	if err != nil {
		return room, a, err
	}
	m, err := s.cfg.Store.GetMembership(ctx, room.NID, c.Requester.User)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return room, a, fmt.Errorf("load membership of %s: %w", room.ID, err)
	}
	if m.Membership != spec.Join {
		return room, a, notThere
	}
	rules, err := s.cfg.Rooms.Rules(ctx, room)
	if err != nil {
		return room, a, err
	}
	return room, actor{user: c.Requester.User, name: c.Requester.Actor(), ip: c.ClientAddr(), level: rules.UserLevel(c.Requester.User)}, nil
}

// govern is enter for somebody who may have the meeting recorded.
func (s *Server) govern(ctx context.Context, c *httpapi.Call) (roomserver.Info, actor, Policy, error) {
	if c.Requester.Guest {
		return roomserver.Info{}, actor{}, Policy{}, matrix.Forbidden("guests may not do this")
	}
	if c.Requester.Suspended {
		return roomserver.Info{}, actor{}, Policy{}, matrix.NewError(http.StatusForbidden, matrix.ErrUserSuspended, "this account has been suspended")
	}
	room, a, err := s.enter(ctx, c)
	if err != nil {
		return room, a, Policy{}, err
	}
	var p Policy
	if s.cfg.Policy != nil {
		if p, err = s.cfg.Policy(ctx, room.OrganisationID); err != nil {
			return room, a, p, err
		}
	}
	p.Level = max(p.Level, meetings.Moderator)
	if a.level < p.Level {
		return room, a, p, matrix.Forbidden("having a meeting recorded needs power level %d", p.Level)
	}
	return room, a, p, nil
}

type startRequest struct {
	// Recorder is "egress" or what the organisation calls an application service; empty for the only one that there is.
	Recorder string `json:"recorder"`
}

type startResponse struct {
	ID    string `json:"recording_id"`
	State string `json:"state"`
}

// Start asks those who are in the call whether they agree, and has it recorded when they have.
func (s *Server) start(ctx context.Context, c *httpapi.Call, req *startRequest) (any, error) {
	room, a, p, err := s.govern(ctx, c)
	if err != nil {
		return nil, err
	}
	recorder, err := s.choose(ctx, room, p, req.Recorder)
	if err != nil {
		return nil, err
	}
	r := store.Recording{
		ID: rand.Text(), OrganisationID: room.OrganisationID, RoomNID: room.NID, RoomID: room.ID, Alias: s.cfg.Calls.AliasOf(room.ID, meetings.CallDefaultSlot),
		StartedBy: a.user, Recorder: recorder, State: store.RecordingAsking, CreatedTS: s.now(),
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		ok, err := tx.InsertRecording(ctx, r)
		if err != nil {
			return err
		}
		if !ok {
			return errOn
		}
		if err := tx.PutRecordingConsent(ctx, r.ID, a.user, "yes", "start", r.CreatedTS); err != nil {
			return err
		}
		return s.audit(ctx, tx, &r, a.name, a.ip, "recording.start", map[string]any{"recorder": recorder, "to": s.destination(recorder)})
	})
	if errors.Is(err, errOn) {
		return s.startedAlready(ctx, room, recorder)
	}
	if err != nil {
		return nil, fmt.Errorf("start a recording: %w", err)
	}
	s.note(room.NID)
	if err := s.announce(ctx, &r); err != nil {
		// The room doesn't let it be said: then it is not done.
		_ = s.finish(context.WithoutCancel(ctx), &r, store.RecordingFailed, "the room could not be told", a)
		return nil, err
	}
	if err := s.advance(ctx, &r); err != nil {
		return nil, err
	}
	return startResponse{r.ID, r.State}, nil
}

var errOn = errors.New("recording: one is on")

// startedAlready answers who asks for what is on.
func (s *Server) startedAlready(ctx context.Context, room roomserver.Info, recorder string) (any, error) {
	on, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up a recording: %w", err)
	}
	if err != nil || on.Recorder != recorder || on.State == store.RecordingStopping {
		return nil, matrix.BadState("the meeting is being recorded already")
	}
	if err := s.advance(ctx, &on); err != nil {
		return nil, err
	}
	return startResponse{on.ID, on.State}, nil
}

// choose finds the recorder that is meant, among those that the organisation lets record.
func (s *Server) choose(ctx context.Context, room roomserver.Info, p Policy, wanted string) (string, error) {
	if !p.Egress && !p.Appservices {
		return "", matrix.Forbidden("the organisation has no meetings recorded").With("org.roomline.reason", "recording_off")
	}
	var services []Recorder
	if p.Appservices && s.cfg.Recorders != nil {
		services = s.cfg.Recorders(room.OrganisationID)
	}
	if wanted != "" && wanted != Egress {
		for _, r := range services {
			if r.Name == wanted || r.ID == wanted {
				return r.ID, nil
			}
		}
		return "", matrix.NotFound("there is no such recorder")
	}
	if wanted == "" && !p.Egress {
		if len(services) == 1 {
			return services[0].ID, nil
		}
		if len(services) > 1 {
			return "", matrix.MissingParam("recorder is missing: there are several")
		}
		return "", noRecorder()
	}
	if !p.Egress {
		return "", matrix.Forbidden("the organisation has no meetings recorded by LiveKit").With("org.roomline.reason", "recording_off")
	}
	if s.cfg.Files == nil {
		return "", noRecorder()
	}
	if err := s.cfg.SFU.CanRecord(ctx); err != nil {
		s.cfg.Log.Info("there is no Egress", "error", err)
		return "", noRecorder()
	}
	return Egress, nil
}

// destination is where a recording goes, for the audit log.
func (s *Server) destination(recorder string) string {
	if recorder == Egress && s.cfg.Files != nil {
		return "s3://" + s.cfg.Files.Bucket.Bucket
	}
	return "appservice:" + recorder
}

// announce says in the room how far a recording is.
func (s *Server) announce(ctx context.Context, r *store.Recording) error {
	content := map[string]any{"state": r.State, "recording_id": r.ID, "recorder": s.nameOf(r.OrganisationID, r.Recorder), "by": r.StartedBy}
	if r.StartedTS != 0 {
		content["started_ts"] = r.StartedTS
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	if raw, err = strictjson.Canonical(raw); err != nil {
		return fmt.Errorf("announce a recording: %w", err)
	}
	return s.cfg.Rooms.SendAsAble(ctx, roomserver.NewEvent{Room: r.RoomID, Sender: r.StartedBy, Type: roomserver.RecordingType, StateKey: new(string), Content: raw})
}

// advance begins to record when everybody who is in the call has answered.
func (s *Server) advance(ctx context.Context, r *store.Recording) error {
	if r.State != store.RecordingAsking {
		return nil
	}
	unanswered, err := s.unanswered(ctx, r)
	if err != nil || len(unanswered) > 0 {
		return err
	}
	now := s.now()
	moved := false
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		moved, err = tx.MoveRecording(ctx, r.ID, store.RecordingAsking, store.RecordingOn, now)
		return err
	})
	if err != nil || !moved {
		return err
	}
	r.State, r.StartedTS = store.RecordingOn, now
	return s.begin(context.WithoutCancel(ctx), r)
}

// begin has the recorder begin, after those have been silenced at the SFU who came in this moment and have not agreed.
func (s *Server) begin(ctx context.Context, r *store.Recording) error {
	err := s.silence(ctx, r)
	if err == nil {
		err = s.cfg.CheckRoom(ctx, r.RoomNID)
	}
	if err == nil && r.Recorder == Egress {
		var e sfu.Egress
		if e, err = s.cfg.SFU.StartRoomEgress(ctx, sfu.EgressRequest{Alias: r.Alias, File: objectKey(r), S3: &s.cfg.Files.Bucket}); err == nil {
			err = s.cfg.Store.PutRecordingEgress(ctx, r.ID, e.ID)
		}
	}
	if err == nil {
		err = s.announce(ctx, r)
	}
	if err == nil {
		return nil
	}
	s.cfg.Log.Warn("a recording could not begin", "room", r.RoomID, "recorder", r.Recorder, "error", err)
	if err := s.finish(ctx, r, store.RecordingFailed, "it could not begin", actor{name: "server"}); err != nil {
		return err
	}
	if errors.Is(err, sfu.ErrUnavailable) {
		return meetings.Unavailable()
	}
	return err
}

// objectKey is where the file of a recording is. It tells nothing of the room.
func objectKey(r *store.Recording) string {
	return fmt.Sprintf("recordings/%d/%s.mp4", r.OrganisationID, strings.ToLower(r.ID))
}

// inCall are those who are in the call at this moment by the SFU's word.
func (s *Server) inCall(ctx context.Context, r *store.Recording) ([]store.RTCParticipant, error) {
	list, err := s.cfg.SFU.Participants(ctx, r.Alias)
	if errors.Is(err, sfu.ErrUnavailable) {
		return nil, meetings.Unavailable()
	}
	if err != nil {
		return nil, err
	}
	in := make(map[string]bool, len(list))
	for _, p := range list {
		in[p.Identity] = true
	}
	places, err := s.cfg.Store.ListRTCPlaces(ctx, r.RoomNID)
	if err != nil {
		return nil, fmt.Errorf("list who may be in a call: %w", err)
	}
	var there []store.RTCParticipant
	for _, p := range places {
		if p.Alias == r.Alias && in[p.Identity] {
			there = append(there, p)
		}
	}
	return there, nil
}

// unanswered are those in the call who have said nothing yet. People of other servers are not waited for, since they are not asked: they are
// silent while it is recorded.
func (s *Server) unanswered(ctx context.Context, r *store.Recording) ([]matrix.UserID, error) {
	there, err := s.inCall(ctx, r)
	if err != nil {
		return nil, err
	}
	said, err := s.cfg.Store.ListRecordingConsents(ctx, r.ID)
	if err != nil {
		return nil, fmt.Errorf("list consents: %w", err)
	}
	var list []matrix.UserID
	for _, p := range there {
		if said[p.UserID] == "" && s.cfg.IsLocal(p.UserID.Domain()) {
			list = append(list, p.UserID)
		}
	}
	return list, nil
}

// silence takes the right to send from those in the call who have not agreed.
func (s *Server) silence(ctx context.Context, r *store.Recording) error {
	there, err := s.inCall(ctx, r)
	if err != nil {
		return err
	}
	said, err := s.cfg.Store.ListRecordingConsents(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("list consents: %w", err)
	}
	for _, p := range there {
		if !withheld(r.State, said[p.UserID]) {
			continue
		}
		rights := sfu.Rights{Subscribe: true}
		if err := s.cfg.SFU.Update(ctx, r.Alias, p.Identity, rights); err != nil {
			return err
		}
		raw, err := json.Marshal(rights)
		if err == nil {
			err = s.cfg.Store.PutRTCRights(ctx, p, raw)
		}
		if err != nil {
			return fmt.Errorf("note the rights of somebody in a call: %w", err)
		}
	}
	return nil
}

type consentRequest struct {
	Answer string `json:"answer"`
}

// postConsent is what somebody in the room says to the recording that is on.
func (s *Server) postConsent(ctx context.Context, c *httpapi.Call, req *consentRequest) (any, error) {
	if req.Answer != "yes" && req.Answer != "no" {
		return nil, matrix.InvalidParam("answer must be yes or no")
	}
	room, a, err := s.enter(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.Consent(ctx, room.ID, a.user, req.Answer, "click")
}

// Consent notes what somebody says to the recording of a room that is on, yes or no, and by which means; who says no may not send any more.
func (s *Server) Consent(ctx context.Context, id matrix.RoomID, user matrix.UserID, answer, means string) error {
	room, err := s.cfg.Rooms.Room(ctx, id)
	if err != nil {
		return err
	}
	r, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	if errors.Is(err, store.ErrNotFound) {
		return matrix.NotFound("nothing is being recorded")
	}
	if err != nil {
		return fmt.Errorf("look up a recording: %w", err)
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return tx.PutRecordingConsent(ctx, r.ID, user, answer, means, s.now()) })
	if err != nil {
		return fmt.Errorf("note a consent: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	if answer == "no" {
		// At once: what is sent from here on would be recorded.
		if err := s.silence(ctx, &r); err != nil {
			s.cfg.Log.Warn("silence somebody who has not agreed to a recording", "room", r.RoomID, "error", err)
		}
	}
	if err := s.cfg.CheckUser(ctx, user); err != nil {
		return err
	}
	return s.advance(ctx, &r)
}

// stop ends a recording, or takes back that it was asked for. Who asked for it may, and whoever may have meetings recorded.
func (s *Server) stop(ctx context.Context, c *httpapi.Call, _ *struct{}) (any, error) {
	room, a, err := s.enter(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	none := errors.Is(err, store.ErrNotFound)
	if err != nil && !none {
		return nil, fmt.Errorf("look up a recording: %w", err)
	}
	if none || r.StartedBy != a.user {
		if _, _, _, err := s.govern(ctx, c); err != nil {
			return nil, err
		}
	}
	if none {
		return nil, nil
	}
	return nil, s.Stop(ctx, &r, a.name, a.ip)
}

// StopRoom ends the recording of a room, if there is one.
func (s *Server) StopRoom(ctx context.Context, room roomserver.Info, by string) error {
	r, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up a recording: %w", err)
	}
	return s.Stop(ctx, &r, by, "")
}

// Stop ends a recording: the recorder first, then what people may not do for its sake. What the recorder can't be told now it is told later.
func (s *Server) Stop(ctx context.Context, r *store.Recording, by, ip string) error {
	ctx = context.WithoutCancel(ctx)
	switch r.State {
	case store.RecordingAsking:
		return s.finish(ctx, r, store.RecordingStopped, "", actor{name: by, ip: ip})
	case store.RecordingOn:
		moved := false
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
			if moved, err = tx.MoveRecording(ctx, r.ID, r.State, store.RecordingStopping, s.now()); err != nil || !moved {
				return err
			}
			return s.audit(ctx, tx, r, by, ip, "recording.stop", map[string]any{"recorder": r.Recorder})
		})
		if err != nil || !moved {
			return err
		}
		r.State = store.RecordingStopping
	}
	if err := s.putOut(ctx, r); err != nil {
		s.cfg.Log.Warn("a recorder could not be stopped, and will be", "room", r.RoomID, "recorder", r.Recorder, "error", err)
		return nil
	}
	if r.Recorder == Egress {
		return nil // it says itself when the file is written
	}
	return s.finish(ctx, r, store.RecordingStopped, "", actor{name: "server"})
}

// putOut stops a recorder.
func (s *Server) putOut(ctx context.Context, r *store.Recording) error {
	if r.Recorder == Egress {
		_, err := s.cfg.SFU.StopEgress(ctx, r.EgressID)
		return err
	}
	rec, _ := s.recorder(r.OrganisationID, r.Recorder)
	places, err := s.cfg.Store.ListRTCPlaces(ctx, r.RoomNID)
	if err != nil {
		return fmt.Errorf("look where a recorder is: %w", err)
	}
	for _, p := range places {
		if p.MemberID != r.ID && p.UserID != rec.Sender {
			continue
		}
		if err := s.cfg.SFU.Remove(ctx, p.Alias, p.Identity); err != nil {
			return err
		}
	}
	return nil
}

// finish notes that a recording is over, and tells the room and those who may send again.
func (s *Server) finish(ctx context.Context, r *store.Recording, state, problem string, by actor) error {
	moved := false
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if moved, err = tx.MoveRecording(ctx, r.ID, r.State, state, s.now()); err != nil || !moved {
			return err
		}
		if problem != "" {
			if err := tx.PutRecordingFile(ctx, r.ID, r.ObjectKey, r.Bytes, problem, r.ExpiresTS); err != nil {
				return err
			}
		}
		if r.State == store.RecordingStopping {
			return nil // which was noted when somebody said so
		}
		action := map[string]string{store.RecordingStopped: "recording.stop", store.RecordingFailed: "recording.fail"}[state]
		return s.audit(ctx, tx, r, by.name, by.ip, action, map[string]any{"recorder": r.Recorder})
	})
	if err != nil || !moved {
		return err
	}
	r.State = state
	return s.over(ctx, r)
}

// announced reports whether the room's state says of a recording what there is to say.
func (s *Server) announced(ctx context.Context, r *store.Recording) (bool, error) {
	e, err := s.cfg.Store.GetStateEvent(ctx, r.RoomNID, store.CurrentState, roomserver.RecordingType, "")
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("load what a room says of its recording: %w", err)
	}
	content := gjson.GetBytes(e.JSON, "content")
	if content.Get("recording_id").String() != r.ID {
		// Of an ended recording another one may have followed.
		return r.EndedTS != 0, nil
	}
	return content.Get("state").String() == r.State, nil
}

// over is what follows when a recording is over. It may be done again.
func (s *Server) over(ctx context.Context, r *store.Recording) error {
	if r.RoomNID == 0 {
		return nil
	}
	if err := s.cfg.CheckRoom(ctx, r.RoomNID); err != nil {
		return err
	}
	err := s.announce(ctx, r)
	if e, refused := matrix.AsError(err); refused && e.Status < http.StatusInternalServerError {
		return nil // nobody is there any more who could say it
	}
	return err
}

// audit notes what was done, in the log of the room's organisation.
func (s *Server) audit(ctx context.Context, tx *store.Tx, r *store.Recording, by, ip, action string, detail map[string]any) error {
	detail["room_id"] = r.RoomID
	raw, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	return tx.AppendAudit(ctx, store.AuditEntry{OrganisationID: r.OrganisationID, TS: s.now(), Actor: by, IP: ip, Action: action, Target: r.ID, Detail: raw})
}
