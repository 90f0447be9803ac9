package guests

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/calendar"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// secretBytes is the size of a link's secret, and of what names an attempt.
const secretBytes = 16

// parseSecret reads 22 characters of base64url. Others are no secret.
func parseSecret(text string) ([]byte, bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(secretBytes) {
		return nil, false
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return secret, err == nil
}

// found is an invitation that somebody has the secret of.
type found struct {
	store.Invitation
	secret []byte
	state  invitations.Status
	// until is how long a guest may stay who comes now.
	until matrix.Timestamp
	// guest is the one whom a used invitation has made, who may come back with a code; UserID is empty if there is none.
	guest store.Guest
}

// needsCode reports whether a code has to be given.
func (f *found) needsCode() bool { return f.state == invitations.Open && f.Proof || f.mayReturn() }

// mayReturn reports whether the guest of a used invitation may have another session.
func (f *found) mayReturn() bool { return f.state == invitations.Used && f.guest.UserID != "" }

func noSuchInvitation() *matrix.Error { return matrix.NotFound("there is no such invitation") }

// find looks an invitation up by its secret.
func (s *Server) find(ctx context.Context, text string) (*found, error) {
	secret, ok := parseSecret(text)
	if !ok {
		return nil, noSuchInvitation()
	}
	hash := sha256.Sum256(secret)
	inv, err := s.cfg.Store.GetInvitationBySecret(ctx, hash[:])
	if errors.Is(err, store.ErrNotFound) {
		return nil, noSuchInvitation()
	}
	if err != nil {
		return nil, fmt.Errorf("look up an invitation: %w", err)
	}
	f := &found{Invitation: inv, secret: secret}
	return f, s.judge(ctx, f)
}

// judge says what an invitation is good for.
func (s *Server) judge(ctx context.Context, f *found) (err error) {
	now := s.now()
	if f.until, err = s.stay(ctx, &f.Invitation, now); err != nil {
		return err
	}
	// The room is asked as well: who is kept out by it must not use the invitation up.
	if f.state, err = s.cfg.Invitations.Standing(ctx, f.Invitation); err != nil {
		return fmt.Errorf("look at invitation %s: %w", f.ID, err)
	}
	switch {
	case f.state == invitations.Used && f.UsesAllowed == 1 && f.Medium != "":
		f.guest, err = s.cfg.Store.GetGuestOfInvitation(ctx, f.ID, now)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("look up the guest of an invitation: %w", err)
		}
	case (f.state == invitations.Open || f.state == invitations.Early) && f.until <= now:
		f.state = invitations.Expired
	}
	return nil
}

// stay is how long a guest may stay who comes now: as long as the invitation says, and of a meeting not much longer than its last time.
func (s *Server) stay(ctx context.Context, inv *store.Invitation, now matrix.Timestamp) (matrix.Timestamp, error) {
	until := now.Add(time.Duration(inv.GuestLifetime) * time.Millisecond)
	meeting, err := meetingOf(inv)
	if err != nil || meeting == nil || meeting.EndTS == 0 {
		return until, err
	}
	last := meeting.EndTS
	if meeting.Recurrence != "" {
		series, err := calendar.NewSeries(meeting)
		if err != nil {
			// The rule is one that calendars do not agree on: it is not known when it ends.
			return until, nil
		}
		last = series.Last()
	}
	policy, err := s.cfg.Invitations.PolicyOf(ctx, inv.OrganisationID)
	if err != nil {
		return 0, err
	}
	return min(until, last.Add(time.Duration(*policy.GuestGrace)*time.Millisecond)), nil
}

func meetingOf(inv *store.Invitation) (*outbox.Meeting, error) {
	if len(inv.Meeting) == 0 {
		return nil, nil
	}
	var m outbox.Meeting
	if err := json.Unmarshal(inv.Meeting, &m); err != nil {
		return nil, fmt.Errorf("stored meeting of invitation %s: %w", inv.ID, err)
	}
	return &m, nil
}

// refusal says why an invitation does not work.
func (f *found) refusal() *matrix.Error {
	return matrix.NewError(http.StatusForbidden, matrix.ErrForbidden, "the invitation is %s", string(f.state)).With("org.roomline.state", f.state)
}

type openRequest struct {
	Secret string `json:"secret"`
}

type named struct {
	Name string `json:"name"`
}

type meetingResponse struct {
	Title    string           `json:"title"`
	StartTS  matrix.Timestamp `json:"start_ts"`
	EndTS    matrix.Timestamp `json:"end_ts"`
	Timezone string           `json:"timezone"`
}

type openResponse struct {
	State        invitations.Status `json:"state"`
	Organisation outbox.Brand       `json:"organisation"`
	Inviter      *named             `json:"inviter,omitempty"`
	Room         *named             `json:"room,omitempty"`
	Encrypted    bool               `json:"encrypted"`
	Meeting      *meetingResponse   `json:"meeting,omitempty"`
	// Answer is what the addressee has said: accepted, tentative, declined, or "" for nothing yet. It is missing where nobody is asked.
	Answer *string `json:"answer,omitempty"`
	// Proof says that a code is needed, which is sent to the address that Hint is what is shown of.
	Proof     bool             `json:"proof"`
	Medium    string           `json:"medium,omitempty"`
	Hint      string           `json:"hint,omitempty"`
	Language  string           `json:"language"`
	OpensTS   matrix.Timestamp `json:"opens_ts,omitempty"`
	ExpiresTS matrix.Timestamp `json:"expires_ts"`
}

// open says what an invitation is to. It uses nothing up; that the link was opened is noted for the inviter.
func (s *Server) open(ctx context.Context, c *httpapi.Call, req *openRequest) (any, error) {
	f, err := s.find(ctx, req.Secret)
	if err != nil {
		return nil, err
	}
	about, err := s.cfg.Invitations.Describe(ctx, f.Invitation)
	if err != nil {
		return nil, fmt.Errorf("describe invitation %s: %w", f.ID, err)
	}
	answer := openResponse{State: f.state, Organisation: about.Organisation, Language: f.Language, ExpiresTS: f.ExpiresTS}
	switch f.state {
	case invitations.Open, invitations.Early, invitations.Used:
	default:
		// Nothing of the room is told any more.
		return answer, nil
	}
	answer.Inviter, answer.Room, answer.Encrypted = &named{about.Inviter}, &named{about.Room}, about.Encrypted
	answer.OpensTS, answer.Proof = f.OpensTS, f.needsCode() || f.state == invitations.Early && f.Proof
	answer.Medium, answer.Hint = f.Medium, invitations.Mask(f.Medium, f.Address)
	if m := about.Meeting; m != nil {
		answer.Meeting = &meetingResponse{m.Title, m.StartTS, m.EndTS, m.Timezone}
		if series, err := calendar.NewSeries(m); err == nil {
			if t, ok := series.Next(s.now().Add(-limits.MeetingLate)); ok {
				answer.Meeting.StartTS, answer.Meeting.EndTS = t.StartTS, t.EndTS
			}
		}
	}
	if f.Medium != "" && len(f.Meeting) > 0 && s.cfg.Answered != nil {
		said, err := s.cfg.Answered(ctx, f.ID)
		if err != nil {
			return nil, err
		}
		answer.Answer = &said
	}
	if f.OpenedTS != 0 || f.state == invitations.Used {
		return answer, nil
	}
	return answer, s.cfg.Invitations.Opened(ctx, f.ID)
}
