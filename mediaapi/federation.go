package mediaapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// FederationRoutes are what other servers ask for. They are not mounted as long as nothing verifies signed requests; origin is then the
// server that has signed a request.
//
// Spec: server-server v1.19 §content-repository
func (s *Server) FederationRoutes(origin func(c *httpapi.Call) matrix.ServerName) []httpapi.Route {
	const federated = "/_matrix/federation/v1/media"
	route := func(path string, handle func(ctx context.Context, c *httpapi.Call, from matrix.ServerName) error) httpapi.Route {
		return httpapi.Route{
			Method: get, Path: federated + path, Auth: httpapi.SignedRequest, Limit: ratelimit.Media,
			Handle: func(ctx context.Context, c *httpapi.Call) (any, error) { return nil, handle(ctx, c, origin(c)) },
		}
	}
	return []httpapi.Route{route("/download/{mediaId}", s.federatedDownload), route("/thumbnail/{mediaId}", s.federatedThumbnail)}
}

// federatedDownload sends a file to a server whose users may see it.
func (s *Server) federatedDownload(ctx context.Context, c *httpapi.Call, from matrix.ServerName) error {
	m, hangs, err := s.federated(ctx, c, from)
	if err != nil {
		return err
	}
	return s.sendParts(ctx, c, hangs, content{
		key: m.ObjectKey, size: m.Size, sha256: m.SHA256, crc32c: m.CRC32C, contentType: m.ContentType, disposition: dispositionOf(m.ContentType, m.FileName),
	})
}

// federatedThumbnail sends a thumbnail to a server whose users may see the picture.
func (s *Server) federatedThumbnail(ctx context.Context, c *httpapi.Call, from matrix.ServerName) error {
	req, err := thumbnailRequest(c)
	if err != nil {
		return err
	}
	m, hangs, err := s.federated(ctx, c, from)
	if err != nil {
		return err
	}
	t, err := s.thumbnailOf(ctx, &m, req)
	if err != nil {
		return thumbnailError(err)
	}
	return s.sendParts(ctx, c, hangs, thumbnailContent(&t))
}

// restrictions say what media hangs on, so that the other server can ask who may see it; nil where we can't say.
//
// Spec: MSC3911 §detailed-spec-changes
type restrictions struct {
	EventID       matrix.EventID `json:"event_id,omitempty"`
	ProfileUserID matrix.UserID  `json:"profile_user_id,omitempty"`
}

// federated is the media of the path, if users of another server may see what it hangs on.
func (s *Server) federated(ctx context.Context, c *httpapi.Call, from matrix.ServerName) (store.Media, restrictions, error) {
	id := c.Path("mediaId")
	domains, err := s.cfg.Store.ListHostedDomains(ctx)
	if err != nil {
		return store.Media{}, restrictions{}, fmt.Errorf("list hosted domains: %w", err)
	}
	// The request does not say which of the domains of this server it means; media ids are unique in all of them.
	for _, d := range domains {
		uri, err := matrix.NewContentURI(string(d.ServerName), id)
		if err != nil {
			return store.Media{}, restrictions{}, err
		}
		m, err := s.cfg.Store.GetMedia(ctx, uri)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return store.Media{}, restrictions{}, fmt.Errorf("look up %s: %w", uri, err)
		}
		link, err := s.cfg.Store.GetMediaLinkFor(ctx, uri, from)
		switch {
		case errors.Is(err, store.ErrNotFound) || err == nil && (m.ObjectKey == "" || m.QuarantinedBy != ""):
			return store.Media{}, restrictions{}, noSuchMedia()
		case err != nil:
			return store.Media{}, restrictions{}, fmt.Errorf("find what %s hangs on: %w", uri, err)
		}
		return m, restrictions{EventID: link.EventID, ProfileUserID: link.UserID}, nil
	}
	return store.Media{}, restrictions{}, noSuchMedia()
}

// sendParts answers with what there is to know of media, and its bytes.
func (s *Server) sendParts(ctx context.Context, c *httpapi.Call, r restrictions, what content) error {
	body := &object{ctx: ctx, s: s, what: what}
	defer body.Close()
	if err := body.open(); err != nil {
		return storeError(err)
	}
	w := paced{c.Paced()}
	defer w.Release()
	if err := writeParts(w, r, what, body); err != nil {
		s.cfg.Log.Warn("media: a download by another server broke off", "object", what.key, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

func writeParts(w http.ResponseWriter, r restrictions, what content, body io.Reader) error {
	parts := multipart.NewWriter(w)
	w.Header().Set("Content-Type", "multipart/mixed; boundary="+parts.Boundary())
	first, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json"}})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(first).Encode(map[string]restrictions{"restrictions": r}); err != nil {
		return err
	}
	second, err := parts.CreatePart(textproto.MIMEHeader{
		"Content-Type": {what.contentType}, "Content-Disposition": {what.disposition},
	})
	if err != nil {
		return err
	}
	n, err := copyTo(second, body)
	if err == nil && n != what.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return parts.Close()
}
