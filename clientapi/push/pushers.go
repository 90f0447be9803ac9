package push

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	kindHTTP    = "http"
	gatewayPath = "/_matrix/push/v1/notify"
)

type pushersResponse struct {
	Pushers []pusher `json:"pushers"`
}

type pusher struct {
	PushKey           string          `json:"pushkey"`
	Kind              string          `json:"kind"`
	AppID             string          `json:"app_id"`
	AppDisplayName    string          `json:"app_display_name"`
	DeviceDisplayName string          `json:"device_display_name"`
	ProfileTag        string          `json:"profile_tag,omitempty"`
	Lang              string          `json:"lang"`
	Data              json.RawMessage `json:"data"`
	// Spec: MSC3881 §proposal
	Enabled  bool            `json:"org.matrix.msc3881.enabled"`
	DeviceID matrix.DeviceID `json:"org.matrix.msc3881.device_id"`
	// Spec: MSC4076 §solution
	DisableBadgeCount bool `json:"org.matrix.msc4076.disable_badge_count,omitempty"`
}

// GetPushers lists the user's pushers.
//
// Spec: client-server v1.19 §push-notifications, GET /_matrix/client/v3/pushers
func (s *Server) GetPushers(ctx context.Context, c *httpapi.Call) (any, error) {
	list, err := s.cfg.Store.ListPushers(ctx, c.Requester.User)
	if err != nil {
		return nil, fmt.Errorf("list pushers: %w", err)
	}
	pushers := make([]pusher, len(list))
	for i, p := range list {
		pushers[i] = pusher{
			PushKey: p.PushKey, Kind: kindHTTP, AppID: p.AppID, AppDisplayName: p.AppDisplayName,
			DeviceDisplayName: p.DeviceDisplayName, ProfileTag: p.ProfileTag, Lang: p.Lang, Data: p.Data,
			Enabled: p.Enabled, DeviceID: p.DeviceID, DisableBadgeCount: p.DisableBadgeCount,
		}
	}
	return pushersResponse{pushers}, nil
}

type pusherRequest struct {
	// Kind is looked at by hand: null removes the pusher, and a kind that was forgotten must not.
	Kind              json.RawMessage `json:"kind"`
	AppID             string          `json:"app_id"`
	PushKey           string          `json:"pushkey"`
	AppDisplayName    *string         `json:"app_display_name"`
	DeviceDisplayName *string         `json:"device_display_name"`
	ProfileTag        string          `json:"profile_tag"`
	Lang              *string         `json:"lang"`
	Data              json.RawMessage `json:"data"`
	Append            bool            `json:"append"`
	Enabled           *bool           `json:"org.matrix.msc3881.enabled"`
	DisableBadgeCount bool            `json:"org.matrix.msc4076.disable_badge_count"`
}

// SetPusher makes, changes or removes a pusher of the user. A pusher ends with the device that set it last.
//
// Spec: client-server v1.19 §push-notifications, POST /_matrix/client/v3/pushers/set
func (s *Server) SetPusher(ctx context.Context, c *httpapi.Call, req *pusherRequest) (any, error) {
	if err := req.checkName(); err != nil {
		return nil, err
	}
	if string(req.Kind) == "null" {
		return nil, s.cfg.Store.DeletePusher(ctx, c.Requester.User, req.AppID, req.PushKey)
	}
	gateway, err := req.check(s.cfg.Inside != nil)
	if err != nil {
		return nil, err
	}
	if c.Requester.Device == "" {
		return nil, matrix.Forbidden("a pusher belongs to a device, and you have none")
	}
	full, err := s.cfg.Store.PutPusher(ctx, store.Pusher{
		UserID: c.Requester.User, DeviceID: c.Requester.Device, AppID: req.AppID, PushKey: req.PushKey,
		AppDisplayName: *req.AppDisplayName, DeviceDisplayName: *req.DeviceDisplayName, ProfileTag: req.ProfileTag, Lang: *req.Lang,
		Data: req.Data, URL: gateway, Enabled: req.Enabled == nil || *req.Enabled, DisableBadgeCount: req.DisableBadgeCount,
		PushKeyTS: s.now(),
	}, req.Append, limits.PushersPerUser)
	if err != nil {
		return nil, fmt.Errorf("store pusher: %w", err)
	}
	if full {
		return nil, matrix.LimitExceeded(0)
	}
	return nil, nil
}

// checkName looks at what names a pusher.
func (req *pusherRequest) checkName() error {
	switch {
	case len(req.Kind) == 0:
		return matrix.MissingParam("kind is missing")
	case req.AppID == "":
		return matrix.MissingParam("app_id is missing")
	case req.PushKey == "":
		return matrix.MissingParam("pushkey is missing")
	case len([]rune(req.AppID)) > limits.PushAppID:
		return matrix.InvalidParam("app_id must not be longer than %d characters", limits.PushAppID)
	case len(req.PushKey) > limits.PushKey:
		return matrix.InvalidParam("pushkey must not be longer than %d bytes", limits.PushKey)
	}
	return nil
}

// check looks at the rest of a pusher, and returns the URL of its gateway.
func (req *pusherRequest) check(plainHTTP bool) (gateway string, err error) {
	for _, field := range []struct {
		name  string
		value *string
	}{{"app_display_name", req.AppDisplayName}, {"device_display_name", req.DeviceDisplayName}, {"lang", req.Lang}, {"profile_tag", &req.ProfileTag}} {
		if field.value == nil {
			return "", matrix.MissingParam("%s is missing", field.name)
		}
		if len(*field.value) > limits.PushName {
			return "", matrix.InvalidParam("%s must not be longer than %d bytes", field.name, limits.PushName)
		}
	}
	data := gjson.ParseBytes(req.Data)
	switch {
	case string(req.Kind) != `"`+kindHTTP+`"`:
		return "", matrix.InvalidParam("kind must be http or null")
	case !data.Exists():
		return "", matrix.MissingParam("data is missing")
	case !data.IsObject():
		return "", matrix.InvalidParam("data must be an object")
	case len(req.Data) > limits.PusherData:
		return "", matrix.InvalidParam("data must not be longer than %d bytes", limits.PusherData)
	case !data.Get("url").Exists():
		return "", matrix.MissingParam("data.url is missing")
	case data.Get("format").Exists() && data.Get("format").Type != gjson.String:
		return "", matrix.InvalidParam("data.format must be a string")
	}
	u, err := url.Parse(data.Get("url").String())
	switch {
	case data.Get("url").Type != gjson.String || err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return "", matrix.InvalidParam("data.url must be the URL of a push gateway")
	case u.Scheme != "https" && !(plainHTTP && u.Scheme == "http"):
		return "", matrix.InvalidParam("data.url must begin with https://")
	case u.Path != gatewayPath:
		return "", matrix.InvalidParam("the path of data.url must be %s", gatewayPath)
	}
	u.Host = strings.ToLower(u.Host)
	return u.String(), nil
}
