package appservices

import (
	"context"
	"errors"
	"net/http"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

type pingRequest struct {
	TransactionID *string `json:"transaction_id"`
}

type pingBody struct {
	TransactionID string `json:"transaction_id,omitempty"`
}

type pingResponse struct {
	DurationMS int64 `json:"duration_ms"`
}

// pingAppservice finds out whether this server reaches an application service, which asks for it itself.
//
// Spec: application-service v1.19 §pinging, POST /_matrix/client/v1/appservice/{appserviceId}/ping
func (s *Server) pingAppservice(ctx context.Context, c *httpapi.Call, req *pingRequest) (any, error) {
	as := s.cfg.Registry.byID(c.Requester.Appservice)
	if as == nil || as.document.ID != c.Path("appserviceId") {
		return nil, matrix.Forbidden("the access token is not that of this application service")
	}
	var body pingBody
	if req.TransactionID != nil {
		if body.TransactionID = *req.TransactionID; len(body.TransactionID) > limits.TxnID {
			return nil, matrix.InvalidParam("transaction_id is longer than %d bytes", limits.TxnID)
		}
	}
	begun := s.cfg.Clock.Now()
	got, err := s.ask(ctx, as, http.MethodPost, "/_matrix/app/v1/ping", nil, body)
	switch {
	case errors.Is(err, errNoURL):
		return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrURLNotSet, "the application service has no URL")
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && isTimeout(err):
		return nil, matrix.NewError(http.StatusGatewayTimeout, matrix.ErrConnectionTimeout, "the application service did not answer in time")
	case err != nil:
		return nil, matrix.NewError(http.StatusBadGateway, matrix.ErrConnectionFailed, "the application service could not be reached: %v", reason(err))
	case !got.ok():
		return nil, matrix.NewError(http.StatusBadGateway, matrix.ErrBadStatus, "the application service answered with status %d", got.status).
			With("status", got.status).With("body", string(got.body[:min(len(got.body), shownBody)]))
	}
	s.hurryUp(as.ID)
	return pingResponse{DurationMS: s.cfg.Clock.Now().Sub(begun).Milliseconds()}, nil
}

// shownBody is how much of an answer is shown to the application service that gave it.
const shownBody = 4 << 10
