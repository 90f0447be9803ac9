package guests

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

type codeRequest struct {
	Secret       string `json:"secret"`
	ClientSecret string `json:"client_secret"`
	SendAttempt  int64  `json:"send_attempt"`
	Language     string `json:"language"`
}

type codeResponse struct {
	SID string `json:"sid"`
}

// code sends a code to the address of an invitation.
func (s *Server) code(ctx context.Context, c *httpapi.Call, req *codeRequest) (any, error) {
	f, err := s.find(ctx, req.Secret)
	if err != nil {
		return nil, err
	}
	if f.state != invitations.Open && !f.mayReturn() {
		return nil, f.refusal()
	}
	if f.Medium == "" {
		return nil, matrix.InvalidParam("the invitation has no address")
	}
	if s.cfg.Codes == nil {
		return nil, noCodes()
	}
	language := req.Language
	if !slices.Contains(invitations.Languages, language) {
		language = f.Language
	}
	sid, err := s.cfg.Codes.Start(ctx, verify.Request{
		Purpose: verify.Guest, Organisation: f.OrganisationID, Medium: f.Medium, Address: f.Address, ClientSecret: req.ClientSecret,
		SendAttempt: req.SendAttempt, Language: language, Host: s.cfg.Codes.Host(), Asker: c.ClientAddr(), Anonymous: true,
	})
	if err != nil {
		return nil, err
	}
	return codeResponse{sid}, nil
}

func noCodes() *matrix.Error {
	return matrix.NewError(http.StatusBadRequest, matrix.ErrThreepidMediumNotSupported, "this server sends no codes")
}

type redeemRequest struct {
	Secret       string `json:"secret"`
	Name         string `json:"name"`
	Language     string `json:"language"`
	Attempt      string `json:"attempt"`
	SID          string `json:"sid"`
	ClientSecret string `json:"client_secret"`
	Code         string `json:"code"`
	// Prepare makes the guest and the session, and leaves entering the room to the same attempt without it: where a room is encrypted, the device's
	// keys have to be known first, or else what is written meanwhile is not for this device and stays unreadable on it.
	Prepare bool `json:"prepare"`
}

type redeemResponse struct {
	UserID      matrix.UserID     `json:"user_id"`
	AccessToken string            `json:"access_token"`
	DeviceID    matrix.DeviceID   `json:"device_id"`
	RoomID      matrix.RoomID     `json:"room_id"`
	ExpiresTS   matrix.Timestamp  `json:"expires_ts"`
	HomeServer  matrix.ServerName `json:"home_server"`
	BaseURL     string            `json:"base_url"`
	DisplayName string            `json:"display_name"`
	Role        string            `json:"role"`
	// Waiting: the guest has knocked, and is in the room when somebody there lets the guest in.
	Waiting bool `json:"waiting,omitempty"`
	// Prepared: the guest is not in the room yet, and enters with the same attempt.
	Prepared bool `json:"prepared,omitempty"`
}

// attempt is a page's attempt to redeem an invitation.
type attempt struct {
	found   *found
	hash    []byte
	session auth.GuestSession
	prepare bool
	// proof is nil where no code was given.
	proof *store.Validation
}

// redeem makes a guest of whoever has the secret of an invitation, or lets the guest of a used one in again.
func (s *Server) redeem(ctx context.Context, c *httpapi.Call, req *redeemRequest) (any, error) {
	f, err := s.find(ctx, req.Secret)
	if err != nil {
		return nil, err
	}
	a, err := s.attempt(c, f, req.Attempt)
	if err != nil {
		return nil, err
	}
	a.prepare = req.Prepare
	if f.Uses > 0 {
		made, err := s.cfg.Store.GetGuestByAttempt(ctx, f.ID, a.hash)
		if err == nil {
			return s.repeat(ctx, a, made)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("look up an attempt: %w", err)
		}
	}
	if f.state != invitations.Open && !f.mayReturn() {
		return nil, f.refusal()
	}
	if a.proof, err = s.proved(ctx, f, req); err != nil {
		return nil, err
	}
	if f.mayReturn() {
		return s.comeBack(ctx, a)
	}
	return s.come(ctx, a, req.Name)
}

// attempt makes what follows from a secret and an attempt.
func (s *Server) attempt(c *httpapi.Call, f *found, text string) (*attempt, error) {
	secret, ok := parseSecret(text)
	if !ok {
		return nil, matrix.InvalidParam("attempt must be 16 random bytes in base64url")
	}
	hash := sha256.Sum256(secret)
	a := &attempt{found: f, hash: hash[:]}
	a.session = auth.GuestSession{Address: c.ClientAddr(), Most: limits.GuestDevices, DeviceName: "Guest"}
	return a, s.derive(&a.session, slices.Concat(f.secret, secret))
}

// derive makes device and token of what only one browser knows.
func (s *Server) derive(session *auth.GuestSession, known []byte) error {
	const idBytes = 10
	b, err := hkdf.Key(sha256.New, known, s.cfg.Key, "roomline guest session", len(session.Secret)+idBytes)
	if err != nil {
		return fmt.Errorf("derive a guest's token: %w", err)
	}
	copy(session.Secret[:], b)
	session.Device = matrix.DeviceID(base32.StdEncoding.EncodeToString(b[len(session.Secret):]))
	return nil
}

// proved is the validation of the code that was given. It refuses where one is needed.
func (s *Server) proved(ctx context.Context, f *found, req *redeemRequest) (*store.Validation, error) {
	if req.SID == "" || f.Medium == "" {
		if f.needsCode() {
			return nil, matrix.NewError(http.StatusForbidden, matrix.ErrThreepidAuthFailed, "a code is needed").With("org.roomline.code_needed", true)
		}
		return nil, nil
	}
	if s.cfg.Codes == nil {
		return nil, noCodes()
	}
	if err := s.cfg.Codes.Check(ctx, req.SID, req.ClientSecret, req.Code); err != nil {
		return nil, wrongCode(err)
	}
	proof, err := s.cfg.Codes.Get(ctx, req.SID, req.ClientSecret, verify.Guest)
	if err != nil {
		return nil, wrongCode(err)
	}
	if proof.Medium != f.Medium || proof.Address != f.Address || proof.OrganisationID != f.OrganisationID {
		return nil, wrongCode(matrix.Forbidden("a code for another address"))
	}
	return &proof, nil
}

// wrongCode says the same of every code that is not good, whatever is wrong with it.
func wrongCode(err error) error {
	if refused(err) {
		return matrix.NewError(http.StatusForbidden, matrix.ErrThreepidAuthFailed, "the code is wrong or too old")
	}
	return err
}

// use uses the proof up, with what it allows.
func (s *Server) use(ctx context.Context, tx *store.Tx, proof *store.Validation) error {
	if proof == nil {
		return nil
	}
	return s.cfg.Codes.Use(ctx, tx, *proof)
}

// What ends the transaction of a redemption without an error of anybody's.
var (
	errUsed     = errors.New("guests: the invitation cannot be used")
	errRepeated = errors.New("guests: the attempt has made a guest")
)

// come makes a new guest.
func (s *Server) come(ctx context.Context, a *attempt, chosen string) (any, error) {
	name, err := DisplayName(chosen)
	if err != nil {
		return nil, err
	}
	inv := &a.found.Invitation
	// The inviter's domain is the organisation's.
	user, err := newUserID(inv.Inviter.Domain())
	if err != nil {
		return nil, err
	}
	g := store.Guest{
		UserID: user, OrganisationID: inv.OrganisationID, InvitationID: inv.ID, Inviter: inv.Inviter, Medium: inv.Medium,
		Address: inv.Address, Verified: a.proof != nil, Role: inv.Role, AttemptHash: a.hash, CreatedTS: s.now(), ExpiresTS: a.found.until,
	}
	a.session.User, a.session.Until = g.UserID, g.ExpiresTS
	err = s.make(ctx, a, g, name)
	if errors.Is(err, errUsed) || errors.Is(err, errRepeated) {
		return s.overtaken(ctx, a)
	}
	if err != nil {
		return nil, fmt.Errorf("redeem invitation %s: %w", inv.ID, err)
	}
	mark, err := markOf(g)
	if err != nil {
		return nil, err
	}
	inv.Uses++
	inv.OpenedTS, inv.RedeemedTS = max(inv.OpenedTS, g.CreatedTS), max(inv.RedeemedTS, g.CreatedTS)
	return s.enter(ctx, a, g, invitations.Comer{Profile: &roomserver.Profile{DisplayName: name, Guest: mark}, Judged: true})
}

// overtaken answers an attempt that came second: to the same attempt, which is answered again, or to another one.
func (s *Server) overtaken(ctx context.Context, a *attempt) (any, error) {
	made, err := s.cfg.Store.GetGuestByAttempt(ctx, a.found.ID, a.hash)
	if err == nil {
		return s.repeat(ctx, a, made)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up an attempt: %w", err)
	}
	if a.found.Invitation, err = s.cfg.Store.GetInvitation(ctx, a.found.ID); err != nil {
		return nil, fmt.Errorf("load an invitation again: %w", err)
	}
	if err := s.judge(ctx, a.found); err != nil {
		return nil, err
	}
	if a.found.state == invitations.Open {
		return nil, fmt.Errorf("invitation %s is open and could not be used", a.found.ID)
	}
	return nil, a.found.refusal()
}

// repeat gives the answer of an attempt again that has made a guest, as long as the guest is here and has not signed out.
func (s *Server) repeat(ctx context.Context, a *attempt, g store.Guest) (any, error) {
	f := a.found
	if f.state == invitations.Revoked || f.state == invitations.Member || !g.Active(s.now()) {
		return nil, s.whyOver(ctx, f, g)
	}
	a.session.User, a.session.Until = g.UserID, g.ExpiresTS
	exists := false
	err := s.cfg.Store.Read(ctx, func(tx *store.Tx) (err error) {
		exists, err = a.session.Exists(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up the session of an attempt: %w", err)
	}
	if !exists {
		f.state = invitations.Used
		return nil, f.refusal()
	}
	return s.enterAgain(ctx, a, g)
}

// comeBack gives the guest of a used invitation another session. Nothing is prepared: the guest is in the room already, but for one whose first
// device never came so far.
func (s *Server) comeBack(ctx context.Context, a *attempt) (any, error) {
	a.prepare = false
	g := a.found.guest
	a.session.User = g.UserID
	err := s.cfg.Journal.Write(ctx, func(tx *store.Tx) ([]store.Update, error) {
		var err error
		if g, err = tx.LockGuest(ctx, g.UserID); err != nil {
			return nil, err
		}
		if !g.Active(s.now()) {
			return nil, errUsed
		}
		if err := tx.AdmitActive(ctx, g.OrganisationID); errors.Is(err, store.ErrNotActive) {
			return nil, errUsed
		} else if err != nil {
			return nil, err
		}
		if again, err := a.session.Exists(ctx, tx); err != nil || again {
			return nil, err
		}
		if err := s.use(ctx, tx, a.proof); err != nil {
			return nil, err
		}
		a.session.Until = g.ExpiresTS
		updates, err := s.cfg.Sessions.SignInGuest(ctx, tx, &a.session)
		if err != nil {
			return nil, err
		}
		if !g.Verified {
			g.Verified = true
			if err := tx.PutGuestVerified(ctx, g.UserID); err != nil {
				return nil, err
			}
			if err := putMark(ctx, tx, g); err != nil {
				return nil, err
			}
		}
		return updates, s.audit(ctx, tx, g.OrganisationID, actor{name: string(g.UserID), ip: a.session.Address}, "guest.return", g.UserID, nil)
	})
	if errors.Is(err, errUsed) {
		a.found.state = invitations.Expired
		return nil, a.found.refusal()
	}
	if err != nil {
		return nil, fmt.Errorf("let a guest in again: %w", err)
	}
	if err := s.cfg.Rooms.PropagateProfile(ctx, g.UserID); err != nil {
		return nil, fmt.Errorf("tell the rooms of %s: %w", g.UserID, err)
	}
	return s.enterAgain(ctx, a, g)
}

// enter makes the guest a member of the room, if that has not happened and is wanted yet, and answers the page.
func (s *Server) enter(ctx context.Context, a *attempt, g store.Guest, c invitations.Comer) (any, error) {
	answer := redeemResponse{
		UserID: g.UserID, AccessToken: a.session.Token(), DeviceID: a.session.Device, RoomID: a.found.RoomID, ExpiresTS: g.ExpiresTS,
		HomeServer: g.UserID.Domain(), BaseURL: s.cfg.BaseURL, DisplayName: c.Profile.DisplayName, Role: g.Role, Prepared: a.prepare,
	}
	if a.prepare {
		return answer, nil
	}
	c.User = g.UserID
	var err error
	if answer.Waiting, err = s.admit(ctx, a.found, g, c); err != nil {
		return nil, err
	}
	if err := s.stays(ctx, a.found, g); err != nil {
		return nil, err
	}
	return answer, nil
}

// enterAgain is enter for a guest who has a name.
func (s *Server) enterAgain(ctx context.Context, a *attempt, g store.Guest) (any, error) {
	var name string
	value, err := s.cfg.Store.GetProfileField(ctx, g.UserID, "displayname")
	if err == nil {
		err = json.Unmarshal(value, &name)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("load the name of %s: %w", g.UserID, err)
	}
	mark, err := markOf(g)
	if err != nil {
		return nil, err
	}
	return s.enter(ctx, a, g, invitations.Comer{Profile: &roomserver.Profile{DisplayName: name, Guest: mark}})
}

// admitTries is how often somebody is let in whom the room refuses: another request may be doing the same.
const admitTries = 3

// admit makes the guest a member, or lets the guest knock where the room has a lobby. Who cannot become one, because the inviter may not invite
// any more, is no guest.
func (s *Server) admit(ctx context.Context, f *found, g store.Guest, c invitations.Comer) (waiting bool, err error) {
	var refusal error
	for range admitTries {
		if waiting, refusal = s.cfg.Invitations.Admit(ctx, f.Invitation, c); !refused(refusal) || tooMany(refusal) {
			return waiting, refusal
		}
		c.Judged = false
		m, err := s.cfg.Store.GetMembership(ctx, f.RoomNID, g.UserID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, fmt.Errorf("look up a guest's membership: %w", err)
		}
		switch m.Membership {
		case "join":
			return false, nil
		case "leave", "ban":
			// The guest was in the room, or at its door, and is not to be any more.
			f.state = invitations.Revoked
			if m.Sender != g.UserID {
				f.state = invitations.Removed
			}
			return false, f.refusal()
		}
	}
	s.cfg.Log.Info("a guest could not be let in", "user", g.UserID, "room", f.RoomID, "err", refusal)
	if err := s.end(ctx, g.UserID, actor{name: "server"}, "the invitation does not hold any more"); err != nil {
		return false, err
	}
	f.state = invitations.Revoked
	return false, f.refusal()
}

// stays takes a guest out again who has ended on the way in, whatever it was: whoever ended the guest may have looked for the rooms before there was
// one. Who ends from now on is found in the room.
func (s *Server) stays(ctx context.Context, f *found, g store.Guest) error {
	now, err := s.cfg.Store.GetGuest(ctx, g.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("look up guest %s: %w", g.UserID, err)
	}
	if err == nil && now.Active(s.now()) {
		return nil
	}
	why := whyRemoved
	if g.ExpiresTS <= s.now() {
		why = whyExpired
	}
	if err := s.leave(ctx, f.RoomID, g.UserID, why); err != nil {
		return fmt.Errorf("take guest %s out again: %w", g.UserID, err)
	}
	i, err := s.cfg.Store.GetInvitation(ctx, f.ID)
	if err == nil {
		f.Invitation = i
		err = s.judge(ctx, f)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("look at an invitation again: %w", err)
	}
	return s.whyOver(ctx, f, g)
}

// whyOver refuses a guest who has ended.
func (s *Server) whyOver(ctx context.Context, f *found, g store.Guest) error {
	if f.state == invitations.Revoked || f.state == invitations.Member {
		return f.refusal()
	}
	f.state = invitations.Expired
	m, err := s.cfg.Store.GetMembership(ctx, f.RoomNID, g.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("look up a guest's membership: %w", err)
	}
	if (m.Membership == "leave" || m.Membership == "ban") && m.Sender != g.UserID {
		f.state = invitations.Removed
	}
	return f.refusal()
}

// tooMany reports that the same would be done later.
func tooMany(err error) bool {
	e, ok := matrix.AsError(err)
	return ok && e.Code == matrix.ErrLimitExceeded
}
