package scim

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// withPhotos is a resource with the pictures of another one.
func (s *Server) withPhotos(now, in resource) (resource, error) {
	photos, err := userType.normal(resource{"photos": in["photos"]})
	if err != nil {
		return nil, err
	}
	active := now["active"]
	now["photos"] = photos["photos"]
	r, err := userType.normal(now)
	if err == nil {
		r["active"] = active
	}
	return r, err
}

// storePhotos brings pictures that came as data: URIs into the media store, and makes the first picture the avatar. One that is stored
// already is left as it is.
func (s *Server) storePhotos(ctx context.Context, u *store.ScimUser, before, r resource, ch *accounts.Change) error {
	list, _ := r["photos"].([]any)
	had := valuesOf(before, "photos")
	for _, v := range list {
		photo, _ := v.(map[string]any)
		value, _ := photo["value"].(string)
		if !strings.HasPrefix(value, "data:") {
			continue
		}
		kind, content, err := dataURI(value)
		if err != nil {
			return err
		}
		uri, err := s.cfg.Accounts.StorePicture(ctx, u.UserID, had, kind, content)
		if err != nil {
			return err
		}
		photo["value"] = uri.String()
	}
	avatar := ""
	for _, value := range valuesOf(r, "photos") {
		if _, err := matrix.ParseContentURI(value); err == nil && avatar == "" {
			avatar = value
		}
	}
	if avatar != "" || len(had) > 0 {
		ch.Avatar = &avatar
	}
	return nil
}

// dataURI reads a data: URI in base64.
//
// Spec: RFC 2397
func dataURI(value string) (kind string, content []byte, err error) {
	head, body, ok := strings.Cut(strings.TrimPrefix(value, "data:"), ",")
	kind, isBase64 := strings.CutSuffix(head, ";base64")
	if !ok || !isBase64 {
		return "", nil, invalid("invalidValue", "photos: a data: URI must have base64")
	}
	if kind != "image/jpeg" && kind != "image/png" && kind != "image/gif" && kind != "image/webp" {
		return "", nil, invalid("invalidValue", "photos: a picture must be image/jpeg, image/png, image/gif or image/webp")
	}
	if len(body) > limits.JSONString {
		return "", nil, invalid("invalidValue", "photos: the picture is too large")
	}
	if content, err = base64.StdEncoding.DecodeString(body); err != nil {
		return "", nil, invalid("invalidValue", "photos: the picture is not base64")
	}
	return kind, content, nil
}
