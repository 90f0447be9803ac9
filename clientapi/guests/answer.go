package guests

import (
	"context"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
)

// answerRequest is what the addressee of an invitation to a meeting says: whoever has the link of a mail. It needs no account, and makes none.
type answerRequest struct {
	Secret string `json:"secret"`
	// Answer is accepted, tentative or declined.
	Answer string `json:"answer"`
}

// answer notes whether the addressee comes. Opening the link says nothing: mail programs open links, too. Who declines may come all the same.
func (s *Server) answer(ctx context.Context, _ *httpapi.Call, req *answerRequest) (any, error) {
	if s.cfg.Answer == nil {
		return nil, matrix.Unrecognized()
	}
	f, err := s.find(ctx, req.Secret)
	if err != nil {
		return nil, err
	}
	switch {
	case f.Medium == "" || len(f.Meeting) == 0:
		return nil, matrix.Forbidden("this link asks nobody in particular whether they come")
	case f.state != invitations.Open && f.state != invitations.Early && f.state != invitations.Used:
		return nil, f.refusal()
	}
	return nil, s.cfg.Answer(ctx, f.ID, req.Answer)
}
