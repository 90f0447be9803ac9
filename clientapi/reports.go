package clientapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type reportRequest struct {
	Reason *string `json:"reason"`
}

// report checks the request and fills in what all reports have.
func (r *reportRequest) report(s *Server, c *httpapi.Call) (store.Report, error) {
	report := store.Report{OrganisationID: c.Requester.Org, Reporter: c.Requester.User, ReceivedTS: s.now()}
	if r.Reason != nil {
		report.Reason = *r.Reason
	}
	return report, checkReason(report.Reason)
}

func (s *Server) keepReport(ctx context.Context, r store.Report) (any, error) {
	if err := s.store.InsertReport(ctx, r, limits.ReportsPerUser); err != nil {
		return nil, fmt.Errorf("store a report: %w", err)
	}
	return empty{}, nil
}

// reportRoom tells the operator of a room. Nobody has to be in the room for that, and the answer does not say whether there is one.
//
// Spec: client-server v1.19 §reporting-content, POST /_matrix/client/v3/rooms/{roomId}/report
func (s *Server) reportRoom(ctx context.Context, c *httpapi.Call, req *reportRequest) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	if req.Reason == nil {
		return nil, matrix.MissingParam("reason is missing; it may be empty")
	}
	report, err := req.report(s, c)
	if err != nil {
		return nil, err
	}
	err = s.approach(ctx, c.Requester, id)
	if _, unknown := matrix.AsError(err); unknown {
		return empty{}, nil
	}
	if err != nil {
		return nil, err
	}
	report.RoomID = id
	return s.keepReport(ctx, report)
}

// reportEvent tells the operator of an event in a room that the requester is in. An event that the requester could not see is answered
// as one that there is not.
//
// Spec: client-server v1.19 §reporting-content, POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}
func (s *Server) reportEvent(ctx context.Context, c *httpapi.Call, req *reportRequest) (any, error) {
	report, err := req.report(s, c)
	if err != nil {
		return nil, err
	}
	unknown := matrix.NotFound("the event was not found or you are not joined to the room")
	r, e, err := s.visibleEvent(ctx, c)
	if refusal, ok := matrix.AsError(err); ok && refusal.Code == matrix.ErrNotFound {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	if !r.isMember() {
		return nil, unknown
	}
	report.RoomID, report.EventID = r.room.ID, e.EventID
	return s.keepReport(ctx, report)
}

// reportUser tells the operator of a user. The answer does not say whether there is one.
//
// Spec: client-server v1.19 §reporting-content, POST /_matrix/client/v3/users/{userId}/report
func (s *Server) reportUser(ctx context.Context, c *httpapi.Call, req *reportRequest) (any, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return nil, err
	}
	if req.Reason == nil {
		return nil, matrix.MissingParam("reason is missing; it may be empty")
	}
	report, err := req.report(s, c)
	if err != nil {
		return nil, err
	}
	user, err := s.store.GetUser(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && user.OrganisationID != c.Requester.Org {
		return empty{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", id, err)
	}
	report.ReportedUser = id
	return s.keepReport(ctx, report)
}
