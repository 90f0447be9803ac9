package sfu

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/roomline/roomline/internal/limits"
)

// ErrForged is in the chain of the error when a webhook was not sent by our LiveKit, or was sent long ago.
var ErrForged = errors.New("sfu: this is no webhook of the media server")

// Event is EventOf for a request whose body has not been read.
func (c *Client) Event(r *http.Request) (*livekit.WebhookEvent, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, limits.SFUWebhook+1))
	if err != nil {
		return nil, fmt.Errorf("sfu: read a webhook: %w", err)
	}
	return c.EventOf(r.Header.Get("Authorization"), body)
}

// EventOf reads a webhook. LiveKit sends a token in the header Authorization that holds the hash of the body.
func (c *Client) EventOf(authorization string, body []byte) (*livekit.WebhookEvent, error) {
	if len(body) > limits.SFUWebhook {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrForged, limits.SFUWebhook)
	}
	v, err := auth.ParseAPIToken(authorization)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	claims, grants, err := v.Verify(c.secret(v.APIKey()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	sum := sha256.Sum256(body)
	if subtle.ConstantTimeCompare([]byte(grants.Sha256), []byte(base64.StdEncoding.EncodeToString(sum[:]))) != 1 {
		return nil, fmt.Errorf("%w: the body is another one", ErrForged)
	}
	event := &livekit.WebhookEvent{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, event); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	now := c.cfg.Clock.Now()
	if claims.ExpiresAt == nil || now.After(claims.ExpiresAt.Time) || now.Sub(time.Unix(event.CreatedAt, 0)) > limits.SFUWebhookAge {
		return nil, fmt.Errorf("%w: it is too old", ErrForged)
	}
	return event, nil
}
